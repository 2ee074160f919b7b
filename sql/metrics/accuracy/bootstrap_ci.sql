-- Accuracy, balanced accuracy, macro F1, kappa and Matthews correlation with bootstrap intervals.
-- Grain: one row per run and metric.
-- Parameters: rel (or a list), n_resamples := 1000, level := 0.95, seed := 0
-- Edges: as scores; undefined resamples are left out; the interval holds the estimate; NULL if all resamples agree.
-- Source: percentiles, macro F1 less its bootstrap bias; Efron & Tibshirani (1993), An Introduction to the Bootstrap
create or replace macro bootstrap_ci(rel, n_resamples := 1000, level := 0.95, seed := 0) as table
with _estimates as (
    select
        unnest(range(5)) as position,
        unnest(['accuracy', 'balanced_accuracy', 'f1_macro', 'cohen_kappa', 'mcc']) as metric,
        unnest([accuracy, balanced_accuracy, f1_macro, cohen_kappa, mcc]) as estimate,
        run,
    from scores(rel)
    where (select coalesce(bool_and(_once(run, n_ids, n_images)), true) from _repeats(rel))
),

_values as (
    select
        unnest(range(5)) as position,
        unnest([accuracy, balanced_accuracy, f1_macro, cohen_kappa, mcc]) as value,
        run,
    from _bootstrap_replicates(rel, n_resamples := n_resamples, seed := seed)
),

_spread as (
    select
        run,
        position,
        avg(value) as mean,
        stddev_samp(value) as std_error,
        quantile_cont(value, [greatest(0, (1 - level) / 2), least(1, (1 + level) / 2)]) as ends,
    from _values
    group by run, position
),

-- Macro F1 of a resample lies below that of its data, and by as much that of the data below the truth if the labels
-- were sampled too; with a fixed number of images per class it lies closer. One end is right for each of the two.
_shifted as (
    select
        _estimates.*,
        _spread.std_error,
        case when _level(level) > 0 and _spread.std_error > 0 then _spread.ends end as ends,
        case when metric = 'f1_macro' then _spread.mean - _estimates.estimate else 0 end as bias,
    from _estimates
    left join _spread
        on _estimates.run = _spread.run
        and _estimates.position = _spread.position
)

select
    metric,
    estimate,
    std_error,
    case when ends is not null then least(ends[1] - bias, ends[1] - 2 * bias, estimate) end as ci_low,
    case
        when ends is not null then least(1e0, greatest(ends[2] - bias, ends[2] - 2 * bias, estimate))
    end as ci_high,
    run,
from _shifted
order by run, position;
