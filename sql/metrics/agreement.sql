-- How much two runs agree, and which way their answers flip from the first to the second.
-- Grain: one row.
-- Parameters: rel_a (before), rel_b (after)
-- Edges: images of both, as in paired; shares of n; churn is the sum of the next three; kappa NULL at 0 / 0.
-- Source: Yan et al. (2021), Positive-Congruent Training, CVPR; Cohen (1960), Educ. Psychol. Meas. 20:37-46.
create or replace macro agreement(rel_a, rel_b) as table
with _cells as materialized (
    select
        pred_a,
        pred_b,
        count(*) as n,
        count(*) filter (where ok_a and not ok_b) as lost,
        count(*) filter (where ok_b and not ok_a) as won,
        count(*) filter (where pred_a <> pred_b and not ok_a and not ok_b) as wrong,
    from paired(rel_a, rel_b)
    group by pred_a, pred_b
),

_margins as (
    select pred_a as class, n as n_a, 0 as n_b from _cells
    union all
    select pred_b as class, 0 as n_a, n as n_b from _cells
),

_classes as (
    select
        class,
        sum(n_a)::hugeint * sum(n_b)::hugeint as chance,
    from _margins
    group by class
),

_chance as (
    select sum(chance) as chance from _classes
),

_sums as (
    select
        coalesce(sum(n), 0)::bigint as n,
        coalesce(sum(n) filter (where pred_a = pred_b), 0)::hugeint as same,
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
