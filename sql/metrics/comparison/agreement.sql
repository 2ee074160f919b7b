-- How much two runs agree, and which way the answers of the run flip against those of its baseline.
-- Grain: one row.
-- Parameters: rel, baseline
-- Edges: images of both, as in paired; shares of n; churn is the sum of the next three; kappa NULL at 0 / 0.
-- Source: Yan et al. (2021), Positive-Congruent Training, CVPR; Cohen (1960), Educ. Psychol. Meas. 20:37-46.
create or replace macro agreement(rel, baseline) as table
with _cells as materialized (
    select
        pred_run,
        pred_baseline,
        count(*) as n,
        count(*) filter (where correct_baseline and not correct_run) as lost,
        count(*) filter (where correct_run and not correct_baseline) as won,
        count(*) filter (where pred_run <> pred_baseline and not correct_run and not correct_baseline) as wrong,
    from paired(rel, baseline)
    group by pred_run, pred_baseline
),

_margins as (
    select pred_baseline as class, n as n_baseline, 0 as n_run from _cells
    union all
    select pred_run as class, 0 as n_baseline, n as n_run from _cells
),

_classes as (
    select
        class,
        sum(n_baseline)::hugeint * sum(n_run)::hugeint as chance,
    from _margins
    group by class
),

_chance as (
    select sum(chance) as chance from _classes
),

_sums as (
    select
        coalesce(sum(n), 0)::bigint as n,
        coalesce(sum(n) filter (where pred_run = pred_baseline), 0)::hugeint as same,
        sum(lost) as lost,
        sum(won) as won,
        sum(wrong) as wrong,
    from _cells
)

select
    _sums.n,
    _sums.same / nullif(_sums.n, 0) as agreement,
    (_sums.n - _sums.same) / nullif(_sums.n, 0) as churn,
    _sums.lost / nullif(_sums.n, 0) as negative_flips,
    _sums.won / nullif(_sums.n, 0) as positive_flips,
    _sums.wrong / nullif(_sums.n, 0) as wrong_differently,
    (_sums.same * _sums.n - _chance.chance) / nullif(_sums.n::hugeint * _sums.n - _chance.chance, 0) as kappa,
from _sums
cross join _chance;
