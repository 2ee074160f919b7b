-- Lower end of an interval for k successes of n that holds for all n at once, regardless of the number of looks.
-- Grain: scalar.
-- Parameters: k, n, level (0.95: the intervals of all n together miss with probability 0.05 at most)
-- Edges: n = 0 gives NULL; a level outside 0..1 is an error; k = 0 gives exactly 0.
-- Source: Robbins (1970), Ann. Math. Stat. 41:1397-1409; Waudby-Smith & Ramdas (2020), NeurIPS: uniform prior
create or replace macro _anytime_low(k, n, level) as
case
    when _level(level) is null or n = 0 then null
    when k = 0 then 0e0
    -- The p below k / n at which the posterior density of p is 1 - level times the prior's, by bisection in 60 steps.
    else list_transform(
        [ln(1 - level) + lgamma(k + 1) + lgamma(n - k + 1) - lgamma(n + 2)],
        lambda _bound: list_reduce( -- noqa: LT01
            list_transform(range(60), lambda _i: case when _i > 0 then 0.5 ** _i else 0 end * k / nullif(n, 0)), -- noqa
            lambda _p, _step: case
                when k * ln(_p + _step) + case when k = n then 0 else (n - k) * ln(1 - _p - _step) end < _bound
                    then _p + _step
                else _p
            end
        )
    )[1]
end;
