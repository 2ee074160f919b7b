-- Share of right answers, with its Wilson score interval.
-- Grain: one row per run.
-- Parameters: rel (or a list), level := 0.95
-- Edges: NULL label or pred is left out; below 0 is wrong; no rows give n = 0 and NULL; an image_id twice is an error.
-- Source: Wilson (1927), J. Am. Stat. Assoc. 22:209-212.
create or replace macro accuracy(rel, level := 0.95) as table
with _answers as (
    select
        run,
        _correct(label, pred) as is_right,
        case when label is not null and pred is not null then image_id end as image_id,
    from query(_rel(rel))
),

_counts as (
    select
        run,
        count(is_right) as n,
        count(*) filter (where is_right) as correct,
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
