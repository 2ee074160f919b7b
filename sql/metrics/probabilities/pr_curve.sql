-- Precision, recall and false positive rate of one class at falling thresholds: the PR and the ROC curve.
-- Grain: one row per run and threshold, highest first.
-- Parameters: rel (or a list), cls (number or name of a class), max_points := 200 (about as many; 0 = all)
-- Edges: called = images with p >= threshold; NULL or NaN is left out; 0 / 0 is NULL; no such class: error.
-- Source: scikit-learn's precision_recall_curve and roc_curve
create or replace macro pr_curve(rel, cls, max_points := 200) as table
with _scored as (
    select
        _rows.run,
        _rows.label = _class.class as is_positive,
        _p_of(_rows.probs, _class.class)::double as p,
    from query(_rel(rel)) as _rows
    inner join _class_of(rel, cls) as _class on _rows.run = _class.run
    where _rows.label is not null
        and _rows.pred is not null
        and _rows.probs is not null
),

_ranked as (
    select
        run,
        p as threshold,
        row_number() over _falling as called,
        sum(is_positive::integer) over (partition by run order by p desc rows unbounded preceding)::bigint as tp,
        dense_rank() over _falling as step,
        lead(p) over _falling as following,
    from _scored
    where not isnan(p)
    window _falling as (partition by run order by p desc)
),

-- Only the last of several images with equal probabilities has counts that include all of them.
_sums as (
    select
        run,
        threshold,
        called,
        tp,
        step,
        max(step) over (partition by run) as steps,
        max(called) over (partition by run) as total,
        max(tp) over (partition by run) as positives,
    from _ranked
    where following is distinct from threshold
)

select
    threshold,
    tp / nullif(called, 0) as precision,
    tp / nullif(positives, 0) as recall,
    (called - tp) / nullif(total - positives, 0) as fpr,
    called,
    run,
from _sums
where max_points = 0
    or steps <= max_points
    or step = 1
    -- Keep the last threshold of each of max_points parts.
    or step * max_points // steps > (step - 1) * max_points // steps
order by run asc, threshold desc;
