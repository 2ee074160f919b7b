-- Accuracy, balanced accuracy, macro F1, kappa and Matthews correlation with bootstrap intervals.
-- Grain: one row per run and metric.
-- Parameters: rel (or a list), n_resamples := 1000, level := 0.95, seed := 0, groups := null (as accuracy)
-- Edges: as scores; undefined resamples: left out; all agree: NULL; too narrow if mistakes are in few groups.
-- Source: percentiles, macro F1 less its bootstrap bias; Efron & Tibshirani (1993), An Introduction to the Bootstrap
create or replace macro bootstrap_ci(rel, n_resamples := 1000, level := 0.95, seed := 0, groups := null) as table
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
    from _bootstrap_replicates(rel, n_resamples := n_resamples, seed := seed, groups := groups)
),

_rows as ( -- noqa: ST03
    select
        run,
        true as slice,
        groups as cluster,
        1 as value,
    from query(_rel(rel))
    where label is not null
        and pred is not null
),

_stretches as (
    select
        run,
        _group_stretch(n, sizes, level) as stretch,
    from _group_sums('_rows')
),


_spread as (
    select
        run,
        position,
        avg(value) as mean,
        stddev_samp(value) as std_error,
        quantile_cont(value, [greatest(0, (1 - level) / 2), least(1, (1 + level) / 2)]) as plain,
    from _values
    group by run, position
),

_stretched as (
    select
        _spread.*,
        _stretches.stretch,
        case
            when stretch = 1 then plain
            when stretch > 1 then [
                greatest(case when position < 3 then 0e0 else -1e0 end, mean + stretch * (plain[1] - mean)),
                mean + stretch * (plain[2] - mean)
            ]
        end as ends,
    from _spread
    inner join _stretches on _spread.run = _stretches.run
),

-- Macro F1 of a resample lies below that of its data, and by as much that of the data below the truth if the labels
-- were sampled too; with a fixed number of images per class it lies closer. One end is right for each of the two.
_shifted as (
    select
        _estimates.*,
        case when _stretched.stretch is not null then _stretched.std_error end as std_error,
        case when _level(level) > 0 and _stretched.std_error > 0 then _stretched.ends end as ends,
        case when metric = 'f1_macro' then _stretched.mean - _estimates.estimate else 0 end as bias,
    from _estimates
    left join _stretched
        on _estimates.run = _stretched.run
        and _estimates.position = _stretched.position
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
