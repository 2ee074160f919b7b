-- Distribution function of a Poisson variable at 0, 1, 2, ...: the list that _poisson_draw reads, for small means.
-- Grain: scalar.
-- Parameters: mean
-- Edges: NULL from mean 10 on; the list ends where less than 1e-10 is left.
-- Source: Poisson distribution, factorials by lgamma
create or replace macro _poisson_steps(mean) as
case
    when mean = 0 then [1e0]
    when mean < 10 then list_transform(
        range(ceil(mean + 8 * sqrt(mean) + 6)::bigint),
        lambda _k: list_sum(list_transform(range(_k + 1), lambda _i: exp(_i * ln(mean) - mean - lgamma(_i + 1))))
    )
end;
