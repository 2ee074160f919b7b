-- Confidence: whether it matches accuracy, and what changes if only confident answers are given.

-- name: confidence_error
-- Calibration error of a run in 15 bins of equal width; NaN when a confidence is NaN.
select
    n,
    ece,
    mce,
    mean_gap,
    ece_chance,
    ece_chance_high,
    mean_gap_chance,
from calibration_error({{ literal(run) }});


-- name: reliability_bins
-- Accuracy against confidence in 15 bins of equal width; confidences that are NaN are in a row whose bin is NULL.
select
    bin,
    n,
    conf_min,
    conf_max,
    confidence,
    accuracy,
    gap,
    ci_low,
    ci_high,
from calibration_curve({{ literal(run) }});


-- name: confidence_histogram
-- Right and wrong answers by confidence, in 20 bins of equal width; confidence 1 is in the last bin.
select
    least(19, greatest(0, floor(confidence::double * 20)))::integer / 20 as low,
    count(*) filter (where correct) as n_right,
    count(*) filter (where not correct) as n_wrong,
from {{ ident(run) }}
where correct is not null
    and not isnan(confidence::double)
group by low
order by low;


-- name: answering_less
-- How many images can be answered when a share of $target of the answers must be right (threshold_for).
-- No threshold reaches the target: coverage 0, threshold NULL.
select
    n,
    threshold,
    n_answered,
    coverage,
    accuracy,
    ci_low,
    ci_high,
from threshold_for({{ literal(run) }}, target_accuracy := $target);


-- name: thresholds
-- Coverage and accuracy when only answers of at least some confidence are given.
-- Coverage is of the labeled images with a confidence; accuracy is NULL where none is left.
with _answers as (
    select
        correct,
        confidence::double as confidence,
    from {{ ident(run) }}
    where correct is not null
        and not isnan(confidence::double)
),

_thresholds as (
    select unnest([0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99])::double as threshold
),

_counts as (
    select
        _thresholds.threshold,
        count(*) as n,
        count(*) filter (where _answers.confidence >= _thresholds.threshold) as kept,
        count(*) filter (where _answers.confidence >= _thresholds.threshold and _answers.correct) as correct,
    from _thresholds
    cross join _answers
    group by _thresholds.threshold
)

select
    threshold,
    kept,
    kept / nullif(n, 0) as coverage,
    correct / nullif(kept, 0) as accuracy,
    wilson_low(correct, kept, 0.95) as ci_low,
    wilson_high(correct, kept, 0.95) as ci_high,
from _counts
order by threshold;


-- name: risk_curve
-- The error rate of the most confident images, at about 100 thresholds; equal confidences are one step.
select
    coverage,
    risk,
    threshold,
    kept,
from risk_coverage({{ literal(run) }}, max_points := 100);
