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


-- name: surest_shares
-- Accuracy when only the surest share of the images with a confidence is answered: shares, so that any run has a table.
-- Images of equal confidence are answered together, so that `kept` may be more than the share.
with _answers as (
    select
        correct,
        confidence::double as confidence,
    from {{ ident(run) }}
    where correct is not null
        and not isnan(confidence::double)
),

_sorted as (
    select list(confidence order by confidence desc) as confidences
    from _answers
),

_shares as (
    select unnest([0.1, 0.2, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1])::double as share
),

_thresholds as (
    select
        _shares.share,
        _sorted.confidences[greatest(1, ceil(_shares.share * len(_sorted.confidences) - 1e-9))::bigint] as threshold,
    from _shares
    cross join _sorted
)

select
    _thresholds.share,
    _thresholds.threshold,
    answered.n_answered as kept,
    answered.coverage,
    answered.accuracy,
    answered.ci_low,
    answered.ci_high,
from _thresholds
cross join lateral (
    select
        count(*) filter (where confidence >= _thresholds.threshold) as n_answered,
        count(*) filter (where confidence >= _thresholds.threshold and correct) as n_right,
        n_answered / nullif(count(*), 0) as coverage,
        n_right / nullif(n_answered, 0) as accuracy,
        wilson_low(n_right, n_answered, 0.95) as ci_low,
        wilson_high(n_right, n_answered, 0.95) as ci_high,
    from _answers
) as answered
where _thresholds.threshold is not null
order by _thresholds.share;


-- name: risk_curve
-- The error rate of the most confident images, at about 100 thresholds; equal confidences are one step.
select
    coverage,
    risk,
    threshold,
    kept,
from risk_coverage({{ literal(run) }}, max_points := 100);
