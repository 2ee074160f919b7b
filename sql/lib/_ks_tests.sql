-- Kolmogorov-Smirnov tests of counted numbers: what ks_test and drift share.
-- Grain: one row per feature.
-- Parameters: rel (a relation of feature, value, in_ref, in_cur: how often each side has a value)
-- Edges: NULL, NaN left out; one side empty: NULL; p is exact (if 1e-6 or more) up to n_ref + n_cur = 20,000.
-- Source: scipy's ks_2samp: 'exact' by _smirnov_sf, beyond it 'asymp' by Vrbik (2018), Pioneer J. Theor. Appl. Stat. 15
create or replace macro _ks_tests(rel) as table
with _totals as (
    select
        feature,
        sum(in_ref)::bigint as n_ref,
        sum(in_cur)::bigint as n_cur,
        min(value) < max(value) as varies,
    from query_table(rel)
    where not isnan(value)
    group by feature
),

-- n_ref * n_cur times the difference of the two shares up to each value: whole numbers, so ties are exact.
_distances as (
    select
        _totals.*,
        (sum(_counts.in_ref::bigint * _totals.n_cur - _counts.in_cur::bigint * _totals.n_ref) over (
            partition by _counts.feature order by _counts.value
        ))::bigint as distance,
    from query_table(rel) as _counts
    inner join _totals on _counts.feature = _totals.feature
    where not isnan(_counts.value)
),

_gaps as (
    select
        feature,
        max(abs(distance)) as gap,
        any_value(n_ref) as n_ref,
        any_value(n_cur) as n_cur,
        any_value(varies) as varies,
    from _distances
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
    varies,
    case
        when n_ref + n_cur <= 20000 and gap <= 4000000 then _smirnov_sf(n_ref, n_cur, gap)
        else _kolmogorov_sf(root_n * d + 1 / (6 * root_n) + (root_n * d - 1) / (4 * root_n * root_n))
    end as p_value,
from _scaled;
