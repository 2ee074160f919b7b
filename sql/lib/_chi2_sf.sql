-- Upper tail of the chi-squared distribution.
-- Grain: scalar.
-- Parameters: x, df (a whole number, degrees of freedom)
-- Edges: x <= 0 gives 1, so does df = 0; NULL gives NULL.
-- Source: finite sums of the incomplete gamma function: Abramowitz & Stegun (1964), 26.4.4 and 26.4.5
create or replace macro _chi2_sf(x, df) as
case
    when x <= 0 or df = 0 then 1e0
    when x > 0 and df > 0 then least(1, (df % 2) * _chi2_sf_1df(x) + list_sum(list_prepend(0e0, list_transform(
        range(0, (df // 2)::bigint),
        lambda _i: exp((_i + (df % 2) / 2) * ln(x / 2) - lgamma(_i + (df % 2) / 2 + 1) - x / 2)
    ))))
end;
