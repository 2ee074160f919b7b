-- The difference between a run and its baseline with bootstrap intervals: accuracy, balanced accuracy, macro F1.
-- Grain: one row per metric.
-- Parameters: rel, baseline, n_resamples := 1000, level := 0.95, seed := 0, is_right (then no f1_macro), groups
-- Edges: images of both, as in paired; diff is run - baseline; equal runs give p = 1; no rows in common give no rows.
-- Source: percentiles: Efron & Tibshirani (1993), p: Davison & Hinkley (1997), ch. 4; groups: as _agresti_min_end
create or replace macro paired_bootstrap(
    rel, baseline, n_resamples := 1000, level := 0.95, seed := 0, is_right := null, groups := null
) as table
with _cells as materialized (
    select
        label,
        pred_baseline,
        pred_run,
        correct_baseline,
        correct_run,
        cluster,
        count(*) as n,
        coalesce(
            correct_run = _correct(label, pred_run) and correct_baseline = _correct(label, pred_baseline), false
        ) as is_plain,
        concat_ws(
            ':', label, pred_baseline, pred_run,
            case when not is_plain then concat(correct_baseline, correct_run) end
        ) as cell,
    from _pairs(rel, baseline, is_right := is_right, groups := groups)
    group by label, pred_baseline, pred_run, correct_baseline, correct_run, cluster
),

_groups as (
    select
        cluster is null as is_alone,
        sum(n) as n,
        sum(n * (correct_run::integer - correct_baseline::integer)) as gained,
        sum(n * (correct_run <> correct_baseline)::integer) as differing,
    from _cells
    group by cluster
),

_sums as (
    select
        sum(n)::bigint as n,
        sum(case when is_alone then n else n * n end)::bigint as sizes,
        _pair_deff(
            sum(n)::double,
            sum(gained)::double,
            sum(differing)::double,
            sum(case when is_alone then differing else gained * gained end)::double,
            sum(case when is_alone then gained else gained * n end)::double,
            sizes::double
        ) as deff,
    from _groups
),

-- A cell stands in three margins, drawn alike in all; in order of classes as in _bootstrap_replicates.
_margins as ( -- noqa: ST03
    select
        n,
        cell,
        cluster,
        correct_run,
        correct_baseline,
        unnest([label, pred_run, pred_baseline]) as class,
        unnest([0, 1, 2]) as side,
    from _cells
    order by class, side
),

-- Replicate -1 is the data itself, so that its scores come from the same query.
_draws as (
    select
        * exclude (cell, cluster),
        -1 as replicate,
    from _margins
    union all by name
    from _resampled_groups('_margins', n_resamples, seed)
),

_classes as (
    select
        replicate,
        class,
        coalesce(sum(n) filter (where side = 0), 0) as support,
        coalesce(sum(n) filter (where side = 0 and correct_run), 0) as tp_run,
        coalesce(sum(n) filter (where side = 0 and correct_baseline), 0) as tp_baseline,
        coalesce(sum(n) filter (where side = 1), 0) as guessed_run,
        coalesce(sum(n) filter (where side = 2), 0) as guessed_baseline,
    from _draws
    group by replicate, class
),

_scores as (
    select
        replicate,
        unnest(['accuracy', 'balanced_accuracy', 'f1_macro']) as metric,
        unnest([
            sum(tp_run) / nullif(sum(support), 0),
            avg(tp_run / nullif(support, 0)) filter (where class >= 0),
            avg(2 * tp_run / nullif(support + guessed_run, 0)) filter (where class >= 0 and is_plain)
        ]) as value_run,
        unnest([
            sum(tp_baseline) / nullif(sum(support), 0),
            avg(tp_baseline / nullif(support, 0)) filter (where class >= 0),
            avg(2 * tp_baseline / nullif(support + guessed_baseline, 0)) filter (where class >= 0 and is_plain)
        ]) as value_baseline,
    from _classes
    -- F1 counts a prediction for its class, which has no meaning where another class is right too.
    cross join (select bool_and(is_plain) as is_plain from _cells) as _all_cells
    group by replicate
),

_gaps as (
    select
        replicate,
        metric,
        value_run,
        value_baseline,
        value_run - value_baseline as gap,
    from _scores
),

_plain as (
    select
        metric,
        max(value_run) filter (where replicate < 0) as value_run,
        max(value_baseline) filter (where replicate < 0) as value_baseline,
        max(gap) filter (where replicate < 0) as diff,
        stddev_samp(gap) filter (where replicate >= 0) as std_error,
        quantile_cont(gap, greatest(0, (1 - level) / 2)) filter (where replicate >= 0) as ci_low,
        quantile_cont(gap, least(1, (1 + level) / 2)) filter (where replicate >= 0) as ci_high,
        case
            when count(gap) > 0 then least(1e0, 2 * (1 + least(
                -- A sum in another order is 0 up to rounding only, and a tie must count on both sides.
                count(*) filter (where replicate >= 0 and gap <= 1e-12),
                count(*) filter (where replicate >= 0 and gap >= -1e-12)
            )) / count(value_run))
        end as p_two_sided,
    from _gaps
    group by metric
),

-- Few groups vary too little and not as the normal does, above all where the runs differ in a few of them only.
_grouped as (
    select
        _plain.*,
        n,
        sizes,
        _group_df(n, sizes) as df,
        _t_from_z(_norm_ppf((1 + level) / 2), df) as q,
        -- As in _agresti_min_end, images are added, in one of which the runs differ, here with the weight of its group.
        diff / (1 + 2 * deff / n) as center,
        sqrt(std_error * std_error / (1 - sizes / n / n) + (deff / n) ** 2) / (1 + 2 * deff / n) as half,
    from _plain
    cross join _sums
)

select
    metric,
    value_run,
    value_baseline,
    diff,
    case
        when sizes = n then ci_low
        when half is not null then greatest(-1e0, least(diff, center - q * half))
    end as ci_low,
    case
        when sizes = n then ci_high
        when half is not null then least(1e0, greatest(diff, center + q * half))
    end as ci_high,
    case when sizes = n then p_two_sided else 2 * _norm_sf(abs(_z_from_t(center / half, df))) end as p_two_sided,
from _grouped
where _level(level) > 0
order by metric;
