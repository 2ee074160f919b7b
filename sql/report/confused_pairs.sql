-- The pairs of classes confused most often.
-- Grain: one row per true and predicted class, at most 20.
-- Parameters: run
-- Edges: correct predictions are left out; predictions outside the data set are class -1.
-- Source: macro top_confusions
with _names as (
    select
        classes.class,
        classes.name,
    from runs
    inner join datasets on runs.dataset = datasets.dataset
    inner join classes on datasets.space = classes.space
    where runs.run = {{ literal(run) }}
)

select
    coalesce(labels.name, confusion.label::varchar) as label_name,
    coalesce(preds.name, case confusion.pred when -1 then '(outside)' else confusion.pred::varchar end) as pred_name,
    confusion.n,
    confusion.share_of_label as share,
from top_confusions({{ literal(run) }}, limit_n := 20) as confusion
left join _names as labels on confusion.label = labels.class
left join _names as preds on confusion.pred = preds.class
order by confusion.n desc, confusion.share_of_label desc, confusion.label, confusion.pred;
