-- Decimals that an interval in percentage points needs to be read without contradiction.
-- Grain: scalar.
-- Parameters: low, high (shares)
-- Edges: from 1 to 6; neither the width nor, if the interval excludes 0, its distance from 0 is rounded to zero.
-- Source: definition
create or replace macro _point_digits(low, high) as
least(6, greatest(1, -floor(log10(nullif(100 * least(
    case when low > 0 or high < 0 then least(abs(low), abs(high)) else 1 end,
    (high - low) / 2
), 0)))))::integer;
