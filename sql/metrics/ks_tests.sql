-- Kolmogorov-Smirnov tests of counted numbers: what ks_test and drift share.
-- Grain: one row per feature.
-- Parameters: rel (a relation of feature, value, in_ref, in_cur: how often each side has a value)
-- Edges: NULL, NaN left out; one side empty: NULL; p is exact (if 1e-6 or more) up to n_ref + n_cur = 20,000.
-- Source: scipy's ks_2samp: 'exact' by smirnov_sf, beyond it 'asymp' by Vrbik (2018), Pioneer J. Theor. Appl. Stat. 15
create or replace macro ks_tests(rel) as table
with _steps as (
    select
        feature,
        value,
        sum(in_ref) as in_ref,
        sum(in_cur) as in_cur,
    from query_table(rel)
    where not isnan(value)
    group by feature, value
),

_sums as (
    select
        feature,
        sum(in_ref) over (partition by feature order by value)::bigint as below_ref,
        sum(in_cur) over (partition by feature order by value)::bigint as below_cur,
        sum(in_ref) over (partition by feature)::bigint as n_ref,
        sum(in_cur) over (partition by feature)::bigint as n_cur,
    from _steps
),

_gaps as (
    select
        feature,
        max(abs(below_ref * n_cur - below_cur * n_ref)) as gap,
        max(n_ref) as n_ref,
        max(n_cur) as n_cur,
        count(*) as steps,
    from _sums
    group by feature
),

_scaled as (
    select
        *,
        gap / nullif(n_ref * n_cur, 0) as d,
        sqrt(round(n_ref * n_cur / nullif(n_ref + n_cur, 0))) as root_n,
    from _gaps
)

select
    feature,
    d,
    n_ref,
    n_cur,
    steps,
    case
        when n_ref + n_cur <= 20000 and gap <= 4000000 then smirnov_sf(n_ref, n_cur, gap)
        else kolmogorov_sf(root_n * d + 1 / (6 * root_n) + (root_n * d - 1) / (4 * root_n * root_n))
    end as p_value,
from _scaled;
