-- Upper tail of the Kolmogorov distribution: the limit of sqrt(n) times the largest gap.
-- Grain: scalar.
-- Parameters: x
-- Edges: x <= 0 gives 1; NULL gives NULL.
-- Source: Kolmogorov (1933); Marsaglia, Tsang & Wang (2003), J. Stat. Softw. 8:18, both series
create or replace macro _kolmogorov_sf(x) as
case
    when x <= 0 then 1e0
    when x < 1 then 1 - 2.5066282746310002e0 / x * list_sum(list_transform(
        range(1, 6),
        lambda _k: exp(-(2 * _k - 1) * (2 * _k - 1) * 1.2337005501361697e0 / (x * x))
    ))
    else 2 * list_sum(list_transform(
        range(1, 12),
        lambda _k: (case when _k % 2 = 1 then 1 else -1 end) * exp(-2 * _k * _k * x * x)
    ))
end;
