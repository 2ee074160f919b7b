-- Kolmogorov-Smirnov test of whether a number has the same distribution in two relations.
-- Grain: one row.
-- Parameters: rel_ref, rel_cur, expr (any number over the columns of both: confidence, list_max(probs))
-- Edges: NULL, NaN left out; one side empty: NULL; p is exact (if 1e-6 or more) up to n_ref + n_cur = 20,000.
-- Source: Smirnov (1939); p as _ks_tests
create or replace macro ks_test(rel_ref, rel_cur, expr) as table
with _values as ( -- noqa: ST03
    select
        'it' as feature,
        (expr)::double as value,
        1 as in_ref,
        0 as in_cur,
    from _one_run_once(rel_ref)
    union all
    select
        'it' as feature,
        (expr)::double as value,
        0 as in_ref,
        1 as in_cur,
    from _one_run_once(rel_cur)
)

select
    max(d) as d,
    coalesce(max(n_ref), 0) as n_ref,
    coalesce(max(n_cur), 0) as n_cur,
    max(p_value) as p_value,
from _ks_tests('_values');
