-- Calibration error: how far confidence is from accuracy, on average, at most, squared, and signed; and what is chance.
-- Grain: one row per run.
-- Parameters: rel (or a list), n_bins := 15, strategy := 'uniform' or 'quantile' (equal counts), level := 0.95
-- Edges: NULL label, pred or confidence is left out; NaN gives NaN; mean_gap > 0: more confident than right.
-- Source: Naeini et al. (2015), AAAI; Guo et al. (2017), ICML; chance: Bröcker & Smith (2007), Weather Forecast. 22:651
create or replace macro calibration_error(rel, n_bins := 15, strategy := 'uniform', level := 0.95) as table
-- A perfectly calibrated model with these confidences has an ece of ece_chance on average and below ece_chance_high
-- in 95 of 100 samples, and a mean_gap within ± mean_gap_chance in 95 of 100. The mean deviation of a bin's count is
-- that of a normal variable, and at most that of images taken one by one. Noise makes an ece too large, by at most
-- that mean deviation: the interval of ece reaches down by all of it, and so holds at least at its level.
with _bins as (
    select
        run,
        n,
        gap,
        (n * gap_sd) ** 2 as variance,
        least(sqrt(2 / pi()) * n * gap_sd, 2 * (n * gap_sd) ** 2) as deviation,
        greatest((n * gap_sd) ** 2, n * accuracy * (1 - accuracy)) as largest_variance,
        least(sqrt(2 / pi() * largest_variance), 2 * largest_variance) as largest_deviation,
    from calibration_curve(rel, n_bins := n_bins, strategy := strategy)
),

_sums as (
    select
        _runs.run,
        coalesce(sum(n), 0)::bigint as n,
        sum(n * abs(gap)) / nullif(sum(n), 0) as ece,
        max(abs(gap)) as mce,
        sqrt(sum(n * gap * gap) / nullif(sum(n), 0)) as rmsce,
        sum(n * gap) / nullif(sum(n), 0) as mean_gap,
        sum(deviation) / nullif(sum(n), 0) as ece_chance,
        _norm_ppf(0.95) * sqrt(sum(variance - deviation ** 2)) / nullif(sum(n), 0) as chance_margin,
        _norm_ppf(0.975) * sqrt(sum(variance)) / nullif(sum(n), 0) as mean_gap_chance,
        sum(largest_deviation) / nullif(sum(n), 0) as bias,
        _norm_ppf((1 + _level(level)) / 2) * sqrt(sum(largest_variance)) / nullif(sum(n), 0) as margin,
    from (select distinct run from query(_rel(rel))) as _runs
    left join _bins on _runs.run = _bins.run
    group by _runs.run
)

select
    n,
    ece,
    mce,
    rmsce,
    mean_gap,
    ece_chance,
    ece_chance + chance_margin as ece_chance_high,
    mean_gap_chance,
    case when ece is not null then greatest(0, ece - bias - margin) end as ece_low,
    ece + margin as ece_high,
    run,
from _sums
order by run;
