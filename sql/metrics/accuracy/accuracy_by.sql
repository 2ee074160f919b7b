-- Accuracy with its Wilson score interval, for every value of an expression.
-- Grain: one row per run and value of expr (one more for NULL), in order of both.
-- Parameters: rel (or a list), expr (SQL over its columns; several: (split, width_px > 256)), level, is_right, groups
-- Edges: as accuracy, within each slice; no rows give no rows; a window in expr spans all runs.
-- Source: Wilson (1927), J. Am. Stat. Assoc. 22:209-212; groups: as accuracy
create or replace macro accuracy_by(rel, expr, level := 0.95, is_right := null, groups := null) as table
with _answers as (
    select
        run,
        expr as slice,
        groups as cluster,
        image_id,
        _right(is_right, label, pred) as was_right,
        _right(is_right, label, pred)::integer as value,
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
),

_scaled as (
    select
        _counts.*,
        _group_scale(_counts.n, correct, squares, crossed, sizes, level) as scale,
    from _counts
    inner join _group_sums('_answers') as _sums
        on _counts.run = _sums.run
        and _counts.slice is not distinct from _sums.slice
)

select
    slice,
    n,
    correct,
    correct / nullif(n, 0) as accuracy,
    wilson_low(correct * scale, n * scale, level) as ci_low,
    wilson_high(correct * scale, n * scale, level) as ci_high,
    run,
from _scaled
where _once(run, n_ids, n_images)
order by run, slice;
