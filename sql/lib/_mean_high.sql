-- Upper end of the interval of a mean of numbers from 0 to largest; lower end: _mean_low.
-- Grain: scalar.
-- Parameters: n, total, squares (sums of the numbers and of their squares), largest (possible, seen or not), level
-- Edges: as _mean_low; at most largest.
-- Source: as _mean_low
create or replace macro _mean_high(n, total, squares, largest, level) as
case
    when largest = 0 then total / nullif(n, 0)
    else list_transform(
        [(squares + 2 * largest ** 2) / (total + 2 * largest)],
        lambda _spread: _spread * wilson_high(total / _spread, n, level)
    )[1]
end;
