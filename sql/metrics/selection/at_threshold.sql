-- Only answers of at least a given confidence: how many images are answered, and how accurately.
-- Grain: one row per run.
-- Parameters: rel (or a list), threshold (the least confidence that is answered), level := 0.95
-- Edges: NULL label or pred is left out; NULL or NaN confidence abstains; nothing answered gives accuracy NULL.
-- Source: Chow (1970), IEEE Trans. Inf. Theory 16:41-46; Wilson (1927), J. Am. Stat. Assoc. 22:209-212.
create or replace macro at_threshold(rel, threshold, level := 0.95) as table
with _answers as (
    select
        run,
        _correct(label, pred) as is_right,
        confidence::double >= threshold::double and not isnan(confidence::double) as is_answered,
        case when label is not null and pred is not null then image_id end as image_id,
    from query(_rel(rel))
),

_counts as (
    select
        run,
        count(is_right) as n,
        count(is_right) filter (where is_answered) as n_answered,
        count(*) filter (where is_answered and is_right) as correct,
        count(image_id) as n_ids,
        count(distinct image_id) as n_images,
    from _answers
    group by run
)

select
    n,
    n_answered,
    n - n_answered as n_abstained,
    n_answered / nullif(n, 0) as coverage,
    correct / nullif(n_answered, 0) as accuracy,
    wilson_low(correct, n_answered, level) as ci_low,
    wilson_high(correct, n_answered, level) as ci_high,
    run,
from _counts
where _once(run, n_ids, n_images)
order by run;
