-- How often each label got each prediction.
-- Grain: one row per run, label and prediction that occur together, in order of all three.
-- Parameters: rel (or a list)
-- Edges: NULL label or pred is left out; below 0 is a class of its own here; cells without images have no row.
-- Source: scikit-learn's confusion_matrix, in long form
create or replace macro confusion_matrix(rel) as table
select
    label,
    pred,
    count(*) as n,
    any_value(label_name) as label_name,
    any_value(pred_name) as pred_name,
    run,
from query(_rel(rel))
where label is not null
    and pred is not null
group by run, label, pred
order by run, label, pred;
