-- Share of right answers, with its Wilson score interval.
-- Grain: one row per run.
-- Parameters: rel (or a list), level := 0.95, is_right := null (what is right: label_rank(probs, label) <= 5)
-- Edges: NULL label, pred or is_right is left out; below 0 is wrong; no rows: n = 0, NULL; an image_id twice: error.
-- Source: Wilson (1927), J. Am. Stat. Assoc. 22:209-212.
create or replace macro accuracy(rel, level := 0.95, is_right := null) as table
with _answers as (
    select
        run,
        _right(is_right, label, pred) as was_right,
        case when _right(is_right, label, pred) is not null then image_id end as image_id,
    from query(_rel(rel))
),

_counts as (
    select
        run,
        count(was_right) as n,
        count(*) filter (where was_right) as correct,
        count(image_id) as n_ids,
        count(distinct image_id) as n_images,
    from _answers
    group by run
)

select
    n,
    correct,
    correct / nullif(n, 0) as accuracy,
    wilson_low(correct, n, level) as ci_low,
    wilson_high(correct, n, level) as ci_high,
    run,
from _counts
where _once(run, n_ids, n_images)
order by run;
