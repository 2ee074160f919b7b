-- Precision, recall and false positive rate of one class at falling thresholds: the PR and the ROC curve.
-- Grain: one row per threshold, highest first.
-- Parameters: rel, cls (class), points := 200 (about so many thresholds, evenly spread; 0 = all)
-- Edges: called = images with p >= threshold; NULL label, pred or probs and NaN are left out; 0 / 0 is NULL.
-- Source: scikit-learn's precision_recall_curve and roc_curve
create or replace macro pr_curve(rel, cls, points := 200) as table
with _scored as (
    select
        label,
        probs[cls + 1]::double as p,
    from query_table(rel)
    where label is not null
        and pred is not null
        and probs is not null
),

_steps as (
    select
        p,
        count(*) as n,
        count(*) filter (where label = cls) as hits,
    from _scored
    where not isnan(p)
    group by p
),

_sums as (
    select
        p as threshold,
        sum(n) over (order by p desc)::bigint as called,
        sum(hits) over (order by p desc)::bigint as tp,
        row_number() over (order by p desc) as step,
        count(*) over () as steps,
        sum(n) over ()::bigint as total,
        sum(hits) over ()::bigint as positives,
    from _steps
)

select
    threshold,
    tp / nullif(called, 0) as precision,
    tp / nullif(positives, 0) as recall,
    (called - tp) / nullif(total - positives, 0) as fpr,
    called,
from _sums
where points = 0
    or steps <= points
    or step = 1
    -- The last step of each of the parts.
    or step * points // steps > (step - 1) * points // steps
order by threshold desc;
