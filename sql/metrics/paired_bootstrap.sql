-- The difference between two runs on the same images, with bootstrap intervals: accuracy, balanced accuracy, macro F1.
-- Grain: one row per metric.
-- Parameters: rel_a, rel_b, replicates := 1000, level := 0.95, seed := 0
-- Edges: images of both, as in paired; diff is b - a; identical runs give p = 1; no rows in common give no rows.
-- Source: Efron & Tibshirani (1993), An Introduction to the Bootstrap; p by Davison & Hinkley (1997), ch. 4.
create or replace macro paired_bootstrap(rel_a, rel_b, replicates := 1000, level := 0.95, seed := 0) as table
with _cells as materialized (
    select label, pred_a, pred_b, count(*) as n, poisson_steps(count(*)) as steps
    from paired(rel_a, rel_b)
    group by label, pred_a, pred_b
),

-- Replicate -1 is the data itself.
_numbers as (select unnest(range(-1, replicates)) as replicate),

_seeded as (
    select *, md5_number_lower(concat_ws(':', seed, replicate, label, pred_a, pred_b)) as bits
    from _cells
    cross join _numbers
),

_draws as materialized (
    select
        replicate,
        label,
        pred_a,
        pred_b,
        case when replicate < 0 then n else poisson_draw(n, steps, bits) end as n,
    from _seeded
),

_margins as (
    select replicate, label as class, n as support, 0 as guessed_a, 0 as guessed_b,
        n * (pred_a = label)::integer as tp_a, n * (pred_b = label)::integer as tp_b
    from _draws
    union all
    select replicate, pred_a as class, 0 as support, n as guessed_a, 0 as guessed_b, 0 as tp_a, 0 as tp_b from _draws
    union all
    select replicate, pred_b as class, 0 as support, 0 as guessed_a, n as guessed_b, 0 as tp_a, 0 as tp_b from _draws
),

_classes as (
    select replicate, class, sum(support) as support, sum(guessed_a) as guessed_a, sum(guessed_b) as guessed_b,
        sum(tp_a) as tp_a, sum(tp_b) as tp_b
    from _margins
    group by replicate, class
),

_scores as (
    select
        replicate,
        unnest(['accuracy', 'balanced_accuracy', 'f1_macro']) as metric,
        unnest([
            sum(tp_a) / nullif(sum(support), 0),
            avg(tp_a / nullif(support, 0)),
            avg(2 * tp_a / nullif(support + guessed_a, 0)) filter (where class >= 0)
        ]) as value_a,
        unnest([
            sum(tp_b) / nullif(sum(support), 0),
            avg(tp_b / nullif(support, 0)),
            avg(2 * tp_b / nullif(support + guessed_b, 0)) filter (where class >= 0)
        ]) as value_b,
    from _classes
    group by replicate
)

select
    metric,
    max(value_a) filter (where replicate < 0) as a,
    max(value_b) filter (where replicate < 0) as b,
    max(value_b - value_a) filter (where replicate < 0) as diff,
    quantile_cont(value_b - value_a, (1 - level) / 2) filter (where replicate >= 0) as ci_low,
    quantile_cont(value_b - value_a, (1 + level) / 2) filter (where replicate >= 0) as ci_high,
    least(1e0, 2 * (1 + least(
        count(*) filter (where replicate >= 0 and value_b <= value_a),
        count(*) filter (where replicate >= 0 and value_b >= value_a)
    )) / nullif(count(*), 0)) as p_two_sided,
from _scores
group by metric
order by metric;
