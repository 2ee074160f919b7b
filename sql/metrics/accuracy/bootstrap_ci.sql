-- Accuracy, balanced accuracy, macro F1, kappa and Matthews correlation with bootstrap intervals.
-- Grain: one row per run and metric.
-- Parameters: rel (or a list), n_resamples := 1000, level := 0.95, seed := 0, groups := null (as accuracy)
-- Edges: as scores; undefined resamples: left out; all agree: NULL without groups; too narrow if classes are in few.
-- Source: percentiles, macro F1 less its bias: Efron & Tibshirani (1993); groups: Wilson's interval at _effective_n
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
        chance,
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

_spread as (
    select
        run,
        position,
        avg(value) as mean,
        stddev_samp(value) as std_error,
        quantile_cont(value, [greatest(0, (1 - level) / 2), least(1, (1 + level) / 2)]) as plain,
        -- What a run scores that is always wrong: for kappa and Matthews correlation less than 0.
        case when position < 3 then 0e0 else -avg(chance) / nullif(1 - avg(chance), 0) end as worst,
    from _values
    group by run, position
),

_scaled as (
    select
        _estimates.*,
        _spread.* exclude (run, position),
        _groups.n,
        _groups.sizes,
        greatest(0e0, (estimate - worst) / (1 - worst)) as share,
        _effective_n(share, (std_error / (1 - worst)) ** 2, n, sizes, level) as scaled_n,
        -- Macro F1 of a resample lies below that of its data, and by as much that of the data below the truth if the
        -- labels were sampled too; with a fixed number of images per class it lies closer.
        case when metric = 'f1_macro' then mean - estimate else 0 end as bias,
    from _estimates
    left join _spread
        on _estimates.run = _spread.run
        and _estimates.position = _spread.position
    left join _group_sums('_rows') as _groups on _estimates.run = _groups.run
),

_ends as (
    select
        *,
        case
            when sizes > n then case
                when scaled_n is not null then [
                    greatest(-1e0, worst + (1 - worst) * wilson_low(share * scaled_n, scaled_n, level)) + bias,
                    worst + (1 - worst) * wilson_high(share * scaled_n, scaled_n, level) + bias
                ]
            end
            when std_error > 0 then plain
        end as ends,
    from _scaled
)

select
    metric,
    estimate,
    case when scaled_n is not null then std_error end as std_error,
    -- One end is right for each of the two kinds of labels.
    case when ends[1] is not null then least(ends[1] - bias, ends[1] - 2 * bias, estimate) end as ci_low,
    case
        when ends[2] is not null then least(1e0, greatest(ends[2] - bias, ends[2] - 2 * bias, estimate))
    end as ci_high,
    run,
from _ends
where _level(level) > 0
order by run, position;
