-- Kolmogorov-Smirnov test: do two relations have the same distribution of a number.
-- Grain: one row.
-- Parameters: rel_ref, rel_cur, expr (any number over the columns of both: confidence, list_max(probs))
-- Edges: NULL and NaN are left out; a side empty: NULL; p exact to n_ref + n_cur = 20,000 (unless < 1e-6), then the limit.
-- Source: smirnov_sf is scipy's ks_2samp 'exact'; the limit its 'asymp' by Vrbik (2018), Pioneer J. Theor. Appl. Stat. 15
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
        max(abs(below_ref * n_cur - below_cur * n_ref)) as gap,
        coalesce(max(n_ref), 0) as n_ref,
        coalesce(max(n_cur), 0) as n_cur,
    from _sums
),

_scaled as (
    select
        *,
        gap / nullif(n_ref * n_cur, 0) as d,
        sqrt(round(n_ref * n_cur / nullif(n_ref + n_cur, 0))) as root_n,
    from _found
)

select
    d,
    n_ref,
    n_cur,
    case
        when n_ref + n_cur <= 20000 and gap <= 4000000 then smirnov_sf(n_ref, n_cur, gap)
        else kolmogorov_sf(root_n * d + 1 / (6 * root_n) + (root_n * d - 1) / (4 * root_n * root_n))
    end as p_value,
from _scaled;
