-- The most frequent mistakes: which label is predicted as which class.
-- Grain: one row per label and wrong prediction, most frequent first.
-- Parameters: rel, max_rows := 20
-- Edges: NULL label or pred is left out; below 0 is a mistake; ties in order of label, then pred.
-- Source: off-diagonal cells of the confusion matrix
create or replace macro top_confusions(rel, max_rows := 20) as table
with _cells as (
    select
        label,
        pred,
        n,
        n / nullif(sum(n) over (partition by label), 0) as share_of_label,
    from confusion_matrix(rel)
)

select
    label,
    pred,
    n,
    share_of_label,
from _cells
where not _correct(label, pred)
order by n desc, label asc, pred asc
limit max_rows;
