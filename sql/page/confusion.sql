-- Which class is predicted for which.

-- name: confused_pairs
-- The 20 pairs of classes that are confused most often; predictions outside the data set are class -1.
select
    coalesce(labels.name, confusion.label::varchar) as label_name,
    coalesce(preds.name, case confusion.pred when -1 then '(outside)' else confusion.pred::varchar end) as pred_name,
    confusion.n,
    confusion.share_of_label as share,
from top_confusions({{ literal(run) }}, max_rows := 20) as confusion
left join class_names as labels on labels.run = {{ literal(run) }} and confusion.label = labels.class
left join class_names as preds on preds.run = {{ literal(run) }} and confusion.pred = preds.class
order by confusion.n desc, confusion.share_of_label desc, confusion.label, confusion.pred;


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
