-- The most frequent mistakes: which label is predicted as which class.
-- Grain: one row per run, label and wrong prediction, most frequent first.
-- Parameters: rel (or a list), max_rows := 20 (of each run)
-- Edges: NULL label or pred is left out; below 0 is a mistake; ties in order of label, then pred.
-- Source: off-diagonal cells of the confusion matrix
create or replace macro top_confusions(rel, max_rows := 20) as table
with _cells as (
    select
        *,
        n / nullif(sum(n) over (partition by run, label), 0) as share_of_label,
    from confusion_matrix(rel)
),

_mistakes as (
    select
        *,
        row_number() over (partition by run order by n desc, label asc, pred asc) as rank,
    from _cells
    where not _correct(label, pred)
)

select
    label,
    pred,
    n,
    share_of_label,
    label_name,
    pred_name,
    run,
from _mistakes
where rank <= max_rows
order by run, rank;
