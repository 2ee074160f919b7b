-- Scores of counted confusion matrices, one for each slice.
-- Grain: one row per slice.
-- Parameters: rel (a relation of slice, label, pred, n)
-- Edges: as scores, within each slice: classes are those among its labels or predictions; undefined precision is 0.
-- Source: _margin_scores
create or replace macro _cell_scores(rel) as table
with _margins as (
    select
        slice,
        unnest([greatest(label, -1), greatest(pred, -1)]) as class,
        unnest([n, 0]) as support,
        unnest([0, n]) as predicted,
        unnest([0, n * _correct(label, pred)::integer]) as tp,
    from query_table(rel)
),

_classes as ( -- noqa: ST03
    select
        slice,
        class,
        sum(support)::bigint as support,
        sum(predicted)::bigint as predicted,
        sum(tp)::bigint as tp,
    from _margins
    group by slice, class
)

from _margin_scores('_classes');
