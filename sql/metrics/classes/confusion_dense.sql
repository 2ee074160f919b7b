-- The whole confusion matrix, cells without images too, with shares of its rows and columns.
-- Grain: one row per run, label and prediction, in order of all three.
-- Parameters: rel (or a list), n_classes := 0 (at least as many classes; more when labels or predictions go beyond)
-- Edges: below 0 has a row or column only when it occurs; a share of nothing is NULL; a run without answers: no rows.
-- Source: scikit-learn's confusion_matrix(labels=range(n_classes), normalize='true' and 'pred')
create or replace macro confusion_dense(rel, n_classes := 0) as table
with _cells as materialized (
    select
        run,
        label,
        pred,
        n,
        label_name,
        pred_name,
    from confusion_matrix(rel)
),

_sizes as (
    select
        _runs.run,
        greatest(n_classes, coalesce(max(greatest(_cells.label, _cells.pred)) + 1, 0)) as size,
    from (select distinct run from query(_rel(rel))) as _runs
    left join _cells on _runs.run = _cells.run
    group by _runs.run
),

_labels as (
    select run, unnest(range(size)) as label
    from _sizes
    union all
    select distinct run, label
    from _cells
    where label < 0
),

_preds as (
    select run, unnest(range(size)) as pred
    from _sizes
    union all
    select distinct run, pred
    from _cells
    where pred < 0
),

-- A class has its name from any cell that it occurs in, as label or as prediction.
_names as (
    select run, class, any_value(name) as name
    from (
        select run, label as class, label_name as name from _cells
        union all
        select run, pred as class, pred_name as name from _cells
    ) as _named
    group by run, class
),

_dense as (
    select
        _labels.run,
        _labels.label,
        _preds.pred,
        coalesce(_cells.n, 0) as n,
        _of_label.name as label_name,
        _of_pred.name as pred_name,
    from _labels
    inner join _preds on _labels.run = _preds.run
    left join _cells
        on _labels.run = _cells.run
        and _labels.label = _cells.label
        and _preds.pred = _cells.pred
    left join _names as _of_label on _labels.run = _of_label.run and _labels.label = _of_label.class
    left join _names as _of_pred on _preds.run = _of_pred.run and _preds.pred = _of_pred.class
)

select
    label,
    pred,
    n,
    n / nullif(sum(n) over (partition by run, label), 0) as recall_share,
    n / nullif(sum(n) over (partition by run, pred), 0) as precision_share,
    label_name,
    pred_name,
    run,
from _dense
order by run, label, pred;
