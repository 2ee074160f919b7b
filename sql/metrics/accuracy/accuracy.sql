-- Share of right answers, with its Wilson score interval.
-- Grain: one row per run.
-- Parameters: rel (or a list), level := 0.95, is_right := null (what is right), groups := null (SQL: patient, burst, …)
-- Edges: NULL label, pred, is_right: left out; below 0: wrong; an image_id twice: error; one group: NULL interval
-- Source: Wilson (1927), J. Am. Stat. Assoc. 22:209-212; groups: its interval at the effective n, see _group_scale
create or replace macro accuracy(rel, level := 0.95, is_right := null, groups := null) as table
with _answers as (
    select
        run,
        true as slice,
        groups as cluster,
        _right(is_right, label, pred) as was_right,
        _right(is_right, label, pred)::integer as value,
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
),

_scaled as (
    select
        _counts.*,
        _group_scale(_counts.n, correct, squares, crossed, sizes, level) as scale,
    from _counts
    left join _group_sums('_answers') as _sums on _counts.run = _sums.run
)

select
    n,
    correct,
    correct / nullif(n, 0) as accuracy,
    wilson_low(correct * scale, n * scale, level) as ci_low,
    wilson_high(correct * scale, n * scale, level) as ci_high,
    run,
from _scaled
where _once(run, n_ids, n_images)
order by run;
