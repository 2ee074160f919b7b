-- The difference between a run and its baseline with bootstrap intervals: accuracy, balanced accuracy, macro F1.
-- Grain: one row per metric.
-- Parameters: rel, baseline, n_resamples := 1000, level := 0.95, seed := 0, is_right (then no f1_macro), groups
-- Edges: images of both, as in paired; diff is run - baseline; equal runs give p = 1; no rows in common give no rows.
-- Source: Efron & Tibshirani (1993), An Introduction to the Bootstrap; p by Davison & Hinkley (1997), ch. 4.
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
        sum(n) as n,
        case when cluster is null then sum(n) else sum(n) ** 2 end as sizes,
    from _cells
    group by cluster
),

_stretches as (
    select _group_stretch(sum(n), sum(sizes), level) as stretch
    from _groups
),

-- Replicate -1 is the data itself, so that its scores come from the same query.
_draws as (
    select -1 as replicate, label, pred_baseline, pred_run, correct_baseline, correct_run, n
    from _cells
    union all
    select replicate, label, pred_baseline, pred_run, correct_baseline, correct_run, n
    from _resampled_groups('_cells', n_resamples, seed)
),

_margins as (
    select
        replicate,
        unnest([label, pred_run, pred_baseline]) as class,
        unnest([n, 0, 0]) as support,
        unnest([n * correct_run::integer, 0, 0]) as tp_run,
        unnest([n * correct_baseline::integer, 0, 0]) as tp_baseline,
        unnest([0, n, 0]) as guessed_run,
        unnest([0, 0, n]) as guessed_baseline,
    from _draws
),

_classes as (
    select
        replicate,
        class,
        sum(support) as support,
        sum(tp_run) as tp_run,
        sum(tp_baseline) as tp_baseline,
        sum(guessed_run) as guessed_run,
        sum(guessed_baseline) as guessed_baseline,
    from _margins
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
        avg(gap) filter (where replicate >= 0) over (partition by metric) as center,
    from _scores
),

_stretched as (
    select
        _gaps.*,
        case
            when stretch = 1 then gap
            when stretch > 1 then greatest(-1e0, least(1e0, center + stretch * (gap - center)))
        end as wide_gap,
    from _gaps
    cross join _stretches
)

select
    metric,
    max(value_run) filter (where replicate < 0) as value_run,
    max(value_baseline) filter (where replicate < 0) as value_baseline,
    max(gap) filter (where replicate < 0) as diff,
    quantile_cont(wide_gap, greatest(0, (1 - level) / 2)) filter (where replicate >= 0) as ci_low,
    quantile_cont(wide_gap, least(1, (1 + level) / 2)) filter (where replicate >= 0) as ci_high,
    case
        when count(wide_gap) > 0 then least(1e0, 2 * (1 + least(
            count(*) filter (where replicate >= 0 and wide_gap <= 0),
            count(*) filter (where replicate >= 0 and wide_gap >= 0)
        )) / count(value_run))
    end as p_two_sided,
from _stretched
where _level(level) > 0
group by metric
order by metric;
