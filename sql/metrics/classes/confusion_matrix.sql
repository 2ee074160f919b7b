-- How often each label got each prediction.
-- Grain: one row per label and prediction that occur together, in order of both.
-- Parameters: rel
-- Edges: NULL label or pred is left out; below 0 is a class of its own here; cells without images have no row.
-- Source: scikit-learn's confusion_matrix, in long form
create or replace macro confusion_matrix(rel) as table
select
    label,
    pred,
    count(*) as n,
from query_table(rel)
where label is not null
    and pred is not null
group by label, pred
order by label, pred;
