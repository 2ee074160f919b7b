-- Precision, recall and false positive rate of one class at falling thresholds: the PR and the ROC curve.
-- Grain: one row per threshold, highest first.
-- Parameters: rel, cls (class), max_points := 200 (about as many thresholds, evenly spread; 0 = all)
-- Edges: called = images with p >= threshold; NULL label, pred or probs and NaN are left out; 0 / 0 is NULL.
-- Source: scikit-learn's precision_recall_curve and roc_curve
create or replace macro pr_curve(rel, cls, max_points := 200) as table
with _scored as (
    select
        label,
        _p_of(probs, cls)::double as p,
    from query_table(rel)
    where label is not null
        and pred is not null
        and probs is not null
),

_ranked as (
    select
        p as threshold,
        row_number() over (order by p desc) as called,
        sum((label = cls)::integer) over (order by p desc rows unbounded preceding)::bigint as tp,
        dense_rank() over (order by p desc) as step,
        lead(p) over (order by p desc) as following,
    from _scored
    where not isnan(p)
),

-- Only the last of several images with equal probabilities has counts that include all of them.
_sums as (
    select
        threshold,
        called,
        tp,
        step,
        max(step) over () as steps,
        max(called) over () as total,
        max(tp) over () as positives,
    from _ranked
    where following is distinct from threshold
)

select
    threshold,
    tp / nullif(called, 0) as precision,
    tp / nullif(positives, 0) as recall,
    (called - tp) / nullif(total - positives, 0) as fpr,
    called,
from _sums
where max_points = 0
    or steps <= max_points
    or step = 1
    -- Keep the last threshold of each of max_points parts.
    or step * max_points // steps > (step - 1) * max_points // steps
order by threshold desc;
