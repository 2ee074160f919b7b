-- The log odds of a probability, bounded so that rounding to 1 gives no infinity.
-- Grain: scalar.
-- Parameters: p
-- Edges: from -14 to 14; NULL gives NULL.
-- Source: definition
create or replace macro _log_odds(p) as
least(14, greatest(-14, ln(greatest(p::double, 1e-9)) - ln(greatest(1 - p::double, 1e-9))));
