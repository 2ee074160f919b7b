-- Which class is predicted for which.

-- name: confusion_table
-- The confusion matrix, as counts and as shares of the true class.
-- A class without labeled images has no shares; predictions outside the data set are class -1.
select
    confusion.label,
    confusion.pred,
    coalesce(labels.name, confusion.label::varchar) as label_name,
    coalesce(preds.name, case confusion.pred when -1 then '(outside)' else confusion.pred::varchar end) as pred_name,
    confusion.n,
    confusion.recall_share as share,
from confusion_dense({{ literal(run) }}) as confusion
left join class_names as labels on labels.run = {{ literal(run) }} and confusion.label = labels.class
left join class_names as preds on preds.run = {{ literal(run) }} and confusion.pred = preds.class
order by confusion.label, confusion.pred;


-- name: confused_classes
-- The part of the confusion matrix with the 25 classes of the most confused pairs.
-- Shares are of all images of the true class, so a row need not sum to 1.
with _ranked as (
    select
        row_number() over (order by n desc, share_of_label desc, label, pred) as rank,
        label,
        pred,
    from top_confusions({{ literal(run) }}, max_rows := 500)
    where pred >= 0
),

_classes as (
    select label as class, rank from _ranked
    union all
    select pred as class, rank from _ranked
),

_chosen as (
    select class
    from _classes
    group by class
    order by min(rank), class
    limit 25
),

_cells as (
    select
        label,
        pred,
        n,
        n / nullif(sum(n) over (partition by label), 0) as share,
        sum(n) filter (where not _correct(label, pred)) over () as mistakes,
    from confusion_matrix({{ literal(run) }})
)

select
    _cells.label,
    _cells.pred,
    coalesce(labels.name, _cells.label::varchar) as label_name,
    coalesce(preds.name, _cells.pred::varchar) as pred_name,
    _cells.n,
    _cells.share,
    _cells.mistakes,
from _cells
semi join _chosen as rows_of on _cells.label = rows_of.class
semi join _chosen as columns_of on _cells.pred = columns_of.class
left join class_names as labels on labels.run = {{ literal(run) }} and _cells.label = labels.class
left join class_names as preds on preds.run = {{ literal(run) }} and _cells.pred = preds.class
order by _cells.label, _cells.pred;


-- name: confused_cells
-- Every pair of label and wrong prediction, most frequent first: n images of the `of` with that label, n_wrong mistakes.
-- Predictions outside the data set are class -1.
with _cells as (
    select
        label,
        pred,
        n,
        (sum(n) over (partition by label))::bigint as of,
        (sum(n) filter (where not _correct(label, pred)) over (partition by label))::bigint as n_wrong,
    from confusion_matrix({{ literal(run) }})
)

select
    _cells.label,
    _cells.pred,
    coalesce(labels.name, _cells.label::varchar) as label_name,
    coalesce(preds.name, case _cells.pred when -1 then '(outside)' else _cells.pred::varchar end) as pred_name,
    _cells.n,
    _cells.n / nullif(_cells.of, 0) as share,
    _cells.of,
    _cells.n_wrong,
from _cells
left join class_names as labels on labels.run = {{ literal(run) }} and _cells.label = labels.class
left join class_names as preds on preds.run = {{ literal(run) }} and _cells.pred = preds.class
where not _correct(_cells.label, _cells.pred)
order by _cells.n desc, share desc, _cells.label, _cells.pred;
