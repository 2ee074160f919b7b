-- Accuracy, balanced accuracy, macro F1, kappa and Matthews correlation with bootstrap intervals.
-- Grain: one row per run and metric.
-- Parameters: rel (or a list), n_resamples := 1000, level := 0.95, seed := 0
-- Edges: as scores; percentiles of the resamples, whose undefined values are left out; no rows give NULL.
-- Source: percentile bootstrap; Efron & Tibshirani (1993), An Introduction to the Bootstrap, ch. 13.
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
        stddev_samp(value) as std_error,
        quantile_cont(value, [(1 - level) / 2, (1 + level) / 2]) as ends,
    from _values
    group by run, position
)

select
    _estimates.metric,
    _estimates.estimate,
    _spread.std_error,
    _spread.ends[1] as ci_low,
    _spread.ends[2] as ci_high,
    _estimates.run,
from _estimates
left join _spread
    on _estimates.run = _spread.run
    and _estimates.position = _spread.position
order by _estimates.run, _estimates.position;
