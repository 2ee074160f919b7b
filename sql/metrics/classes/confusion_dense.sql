-- The whole confusion matrix, cells without images too, with shares of its rows and columns.
-- Grain: one row per label and prediction, in order of both.
-- Parameters: rel, n_classes := 0 (at least as many classes; more when labels or predictions go beyond)
-- Edges: below 0 has a row or column only when it occurs; a share of nothing is NULL; no rows and n_classes 0: no rows.
-- Source: scikit-learn's confusion_matrix(labels=range(n_classes), normalize='true' and 'pred')
create or replace macro confusion_dense(rel, n_classes := 0) as table
with _cells as materialized (
    select
        label,
        pred,
        n,
    from confusion_matrix(rel)
),

_size as (
    select greatest(n_classes, coalesce(max(greatest(label, pred)) + 1, 0)) as size
    from _cells
),

_labels as (
    select unnest(range(size)) as label
    from _size
    union all
    select distinct label
    from _cells
    where label < 0
),

_preds as (
    select unnest(range(size)) as pred
    from _size
    union all
    select distinct pred
    from _cells
    where pred < 0
),

_dense as (
    select
        _labels.label,
        _preds.pred,
        coalesce(_cells.n, 0) as n,
    from _labels
    cross join _preds
    left join _cells
        on _labels.label = _cells.label
        and _preds.pred = _cells.pred
)

select
    label,
    pred,
    n,
    n / nullif(sum(n) over (partition by label), 0) as recall_share,
    n / nullif(sum(n) over (partition by pred), 0) as precision_share,
from _dense
order by label, pred;
