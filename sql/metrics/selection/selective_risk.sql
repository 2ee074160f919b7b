-- Selective prediction: the error rate when only the most confident images are answered.
-- Grain: one row per run.
-- Parameters: rel (or a list), target_accuracy := 0.99
-- Edges: NULL label, pred or confidence is left out; ties are one step; NaN: both areas NaN; target as threshold_for.
-- Source: Geifman et al. (2019), Bias-Reduced Uncertainty Estimation, ICLR; eaurc is aurc less that of a perfect order
create or replace macro selective_risk(rel, target_accuracy := 0.99) as table
with _sums as (
    select
        _runs.run,
        count(_steps.run) as n,
        coalesce(max(wrong), 0)::bigint as n_wrong,
        count(threshold) < count(_steps.run) as has_nan,
        avg(wrong / nullif(kept, 0)) as aurc,
    from (select distinct run from query(_rel(rel))) as _runs
    left join _coverage_steps(rel) as _steps on _runs.run = _steps.run
    group by _runs.run
),

_ranks as (
    select
        run,
        n - n_wrong as right_n,
        unnest(range(1, n_wrong + 1)) as rank_wrong,
    from _sums
),

-- In a perfect order all mistakes are last: the k-th mistake comes after n - n_wrong right answers and k - 1 mistakes.
_perfect as (
    select
        run,
        sum(rank_wrong / (right_n + rank_wrong)) as area,
    from _ranks
    group by run
)

select
    _sums.n,
    case when _sums.has_nan then 'nan'::double else _sums.aurc end as aurc,
    case
        when _sums.has_nan then 'nan'::double
        else _sums.aurc - coalesce(_perfect.area, 0) / nullif(_sums.n, 0)
    end as eaurc,
    target.coverage as coverage_at_target,
    target.threshold as threshold_at_target,
    _sums.run,
from _sums
left join _perfect on _sums.run = _perfect.run
inner join threshold_for(rel, target_accuracy := target_accuracy) as target on _sums.run = target.run
order by _sums.run;
