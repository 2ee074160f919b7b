-- Accuracy with its Wilson score interval, for every value of an expression.
-- Grain: one row per run and value of expr (one more for NULL), in order of both.
-- Parameters: rel (or a list), expr (SQL over its columns; several: (split, width_px > 256)), level := 0.95, is_right
-- Edges: as accuracy, within each slice; no rows give no rows; a window in expr spans all runs.
-- Source: Wilson (1927), J. Am. Stat. Assoc. 22:209-212.
create or replace macro accuracy_by(rel, expr, level := 0.95, is_right := null) as table
with _answers as (
    select
        run,
        expr as slice,
        image_id,
        _right(is_right, label, pred) as was_right,
    from query(_rel(rel))
    where _right(is_right, label, pred) is not null
),

_counts as (
    select
        run,
        slice,
        count(*) as n,
        count(*) filter (where was_right) as correct,
        count(image_id) as n_ids,
        count(distinct image_id) as n_images,
    from _answers
    group by run, slice
)

select
    slice,
    n,
    correct,
    correct / nullif(n, 0) as accuracy,
    wilson_low(correct, n, level) as ci_low,
    wilson_high(correct, n, level) as ci_high,
    run,
from _counts
where _once(run, n_ids, n_images)
order by run, slice;
