-- Which class is taken for which, as counts and as shares of the true class.
-- Grain: one row per true and predicted class.
-- Parameters: run
-- Edges: a class without labelled images has no shares; predictions outside the data set are class -1.
-- Source: macro confusion_dense
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
    confusion.label,
    confusion.pred,
    coalesce(labels.name, confusion.label::varchar) as label_name,
    coalesce(preds.name, case confusion.pred when -1 then '(outside)' else confusion.pred::varchar end) as pred_name,
    confusion.n,
    confusion.recall_share as share,
from confusion_dense({{ literal(run) }}) as confusion
left join _names as labels on confusion.label = labels.class
left join _names as preds on confusion.pred = preds.class
order by confusion.label, confusion.pred;
