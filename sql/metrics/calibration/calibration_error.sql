-- Calibration error: how far confidence is from accuracy, on average, at most, squared, and signed.
-- Grain: one row per run.
-- Parameters: rel (or a list), n_bins := 15, strategy := 'uniform' or 'quantile' (equal counts; ties never split)
-- Edges: NULL label, pred or confidence is left out; NaN confidence gives NaN; mean_gap > 0 is overconfident.
-- Source: Naeini et al. (2015), AAAI; Guo et al. (2017), ICML; confidence 1 is in the last bin
create or replace macro calibration_error(rel, n_bins := 15, strategy := 'uniform') as table
select
    coalesce(sum(n), 0)::bigint as n,
    sum(n * abs(gap)) / nullif(sum(n), 0) as ece,
    max(abs(gap)) as mce,
    sqrt(sum(n * gap * gap) / nullif(sum(n), 0)) as rmsce,
    sum(n * gap) / nullif(sum(n), 0) as mean_gap,
    _runs.run,
from (select distinct run from query(_rel(rel))) as _runs
left join calibration_curve(rel, n_bins := n_bins, strategy := strategy) as _bins on _runs.run = _bins.run
group by _runs.run
order by _runs.run;
