-- Kolmogorov-Smirnov test: do two relations have the same distribution of a number.
-- Grain: one row.
-- Parameters: rel_ref, rel_cur, expr (any number over the columns of both: confidence, list_max(probs))
-- Edges: NULL and NaN are left out; one side empty gives NULL; p is asymptotic, with Stephens' correction for small n.
-- Source: Smirnov (1939); Stephens (1970), J. R. Stat. Soc. B 32:115-122.
create or replace macro ks_test(rel_ref, rel_cur, expr) as table
with _values as (
    select
        (expr)::double as value,
        1 as in_ref,
        0 as in_cur,
    from query_table(rel_ref)
    union all
    select
        (expr)::double as value,
        0 as in_ref,
        1 as in_cur,
    from query_table(rel_cur)
),

_steps as (
    select
        value,
        sum(in_ref) as in_ref,
        sum(in_cur) as in_cur,
    from _values
    where not isnan(value)
    group by value
),

_sums as (
    select
        sum(in_ref) over (order by value)::bigint as below_ref,
        sum(in_cur) over (order by value)::bigint as below_cur,
        sum(in_ref) over ()::bigint as n_ref,
        sum(in_cur) over ()::bigint as n_cur,
    from _steps
),

_found as (
    select
        max(abs(below_ref / nullif(n_ref, 0) - below_cur / nullif(n_cur, 0))) as d,
        coalesce(max(n_ref), 0) as n_ref,
        coalesce(max(n_cur), 0) as n_cur,
        sqrt(max(n_ref) * max(n_cur) / nullif(max(n_ref) + max(n_cur), 0)) as root_n,
    from _sums
)

select
    d,
    n_ref,
    n_cur,
    kolmogorov_sf((root_n + 0.12e0 + 0.11e0 / nullif(root_n, 0)) * d) as p_value,
from _found;
