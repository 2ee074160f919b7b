-- The probability of a class in probs.
-- Grain: scalar.
-- Parameters: probs (list or array), class (0-based)
-- Edges: NULL for a class below 0 or beyond probs: a negative index would read from the end.
-- Source: definition
create or replace macro _p_of(probs, class) as
case when class >= 0 then probs[class + 1] end;
