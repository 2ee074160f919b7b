-- How far the shares of categories have moved from a reference: stability index, Jensen-Shannon, total variation.
-- Grain: one row.
-- Parameters: rel_ref, rel_cur, expr (any SQL over the columns of both), floor_share := 1e-4 (least share, for psi)
-- Edges: NULL is a category; one of one side counts; a side empty: NULL; p_value is rough where categories are rare.
-- Source: Lin (1991), IEEE Trans. Inf. Theory 37:145-151; js_distance is the root of the divergence in nats, as scipy's
create or replace macro psi_category(rel_ref, rel_cur, expr, floor_share := 1e-4) as table
with _values as ( -- noqa: ST03
    select
        'it' as feature,
        expr as value,
        1 as in_ref,
        0 as in_cur,
    from _one_run_once(rel_ref)
    union all
    select
        'it' as feature,
        expr as value,
        0 as in_ref,
        1 as in_cur,
    from _one_run_once(rel_cur)
)

select
    max(psi) as psi,
    max(js_distance) as js_distance,
    max(total_variation) as total_variation,
    coalesce(max(categories), 0) as categories,
    coalesce(max(n_ref), 0) as n_ref,
    coalesce(max(n_cur), 0) as n_cur,
    max(p_value) as p_value,
from _category_tests('_values', floor_share);
