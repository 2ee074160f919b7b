-- Lower end of the Wilson score interval for k successes of n.
-- Grain: scalar.
-- Parameters: k, n, level (0.95 for a 95 % interval)
-- Edges: n = 0 gives NULL; a level outside 0..1 is an error; k = 0 gives exactly 0.
-- Source: Wilson (1927), J. Am. Stat. Assoc. 22:209-212.
create or replace macro wilson_low(k, n, level) as
case
    when _level(level) is null or n = 0 then null
    when k = 0 then 0e0
    else list_transform(
        [_norm_ppf((1 + level) / 2)],
        lambda _q: (k + _q * _q / 2 - _q * sqrt(k * (1 - k / nullif(n, 0)) + _q * _q / 4)) / nullif(n + _q * _q, 0)
    )[1]
end;
