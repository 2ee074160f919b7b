-- Confidence matches accuracy: the expected calibration error, in 15 bins of equal width, is within the bound.
-- Grain: one row, a violation unless violated is false.
-- Parameters: $run, $max_ece
-- Edges: ECE is biased upwards; chance is its mean for a perfectly calibrated run of this size, and is not subtracted.
-- Source: macro calibration_curve; chance by the mean absolute deviation, Diaconis & Zabell (1991), Stat. Sci. 6:284
with _bins as (
    select
        n,
        gap,
        confidence,
        floor(n * confidence) + 1 as k,
    from calibration_curve($run)
),

_sums as (
    select
        coalesce(sum(n), 0)::bigint as n,
        sum(n * abs(gap)) / nullif(sum(n), 0) as ece,
        sum(2 * k * (1 - confidence) * exp(_binom_logpmf(k, n, confidence))) / nullif(sum(n), 0) as chance,
    from _bins
)

select
    n,
    ece,
    chance,
    ece > $max_ece as violated,
    case
        when n = 0 then 'no labeled image has a prediction with a confidence'
        else format(
            'ECE {:.4f} {} {:g}, n = {:,}, 15 bins; a perfectly calibrated run would show {:.4f} by chance{}',
            ece, case when ece > $max_ece then 'is above' else 'is within' end, $max_ece::double, n, chance,
            case when ece > $max_ece and chance > $max_ece then ': too few images for this bound' else '' end
        )
    end as message,
from _sums;
