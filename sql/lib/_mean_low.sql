-- Lower end of the interval of a mean of numbers from 0 to largest; upper end: _mean_high.
-- Grain: scalar.
-- Parameters: n, total, squares (sums of the numbers and of their squares), largest (possible, seen or not), level
-- Edges: of numbers that are 0 or largest it is Wilson's interval; n = 0 gives NULL; largest = 0 gives total / n.
-- Source: Wilson (1927) with the variance mean * (spread - mean) of a mean that is due to rare numbers of a size spread
create or replace macro _mean_low(n, total, squares, largest, level) as
case
    when largest = 0 then total / nullif(n, 0)
    else list_transform(
        -- As if two images more had the largest number, so that an interval allows for numbers that were not seen.
        [(squares + 2 * largest ** 2) / (total + 2 * largest)],
        lambda _spread: _spread * wilson_low(total / _spread, n, level)
    )[1]
end;
