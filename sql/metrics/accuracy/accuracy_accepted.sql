-- Share of answers that are among the accepted classes of their image, with its Wilson score interval.
-- Grain: one row per run.
-- Parameters: rel (or a list; with accepted INTEGER[] beside label and pred), level := 0.95
-- Edges: accepted NULL: label alone is right; empty: left out, in n_empty; NULL pred: left out; below 0 is wrong.
-- Source: Beyer et al. (2020), Are we done with ImageNet?, arXiv:2006.07159 (ReaL accuracy); Wilson (1927)
create or replace macro accuracy_accepted(rel, level := 0.95) as table
with _rows as (
    select
        run,
        image_id,
        label,
        pred,
        accepted,
        pred is not null and (label is not null or accepted is not null) as counts,
    from query(_rel(rel))
),

_answers as (
    select
        run,
        counts,
        case when counts then image_id end as image_id,
        case
            when accepted is null then _correct(label, pred)
            when len(accepted) > 0 then pred >= 0 and list_contains(accepted, pred)
        end as is_right,
    from _rows
),

_counts as (
    select
        run,
        count(is_right) as n,
        count(*) filter (where is_right) as correct,
        count(*) filter (where counts) - count(is_right) as n_empty,
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
    n_empty,
    run,
from _counts
where _once(run, n_ids, n_images)
order by run;
