-- The share of wrong labels and how confidence maps to accuracy, fitted together to where the model contradicts labels.
-- Grain: one row per run; slope and shift act on the log odds of the confidence, noise is the share of wrong labels.
-- Parameters: rel (columns run, confidence, agrees: whether the label is the most probable class, n_classes)
-- Edges: fitted on a grid, noise up to 0.3; the least noise on ties; no rows or one class: no row.
-- Source: maximum likelihood of Platt's (1999) scaling, with labels that are wrong at random
create or replace macro _label_noise(rel) as table
-- Contradictions that even the most confident answers keep are noise; those that fade with confidence are the model's.
with _answers as (
    select
        run,
        _log_odds(confidence) as odds,
        agrees,
        n_classes,
    from query_table(rel)
),

_bins as materialized (
    select
        run,
        avg(odds) as odds,
        count(*) as n,
        count(*) filter (where agrees) as n_agreeing,
        any_value(n_classes) as n_classes,
    from _answers
    group by run, round(2 * odds)
),

_grid as (
    select
        10 ** (_slopes.i / 15.0 - 0.8) as slope,
        _shifts.i / 2.0 - 3 as shift,
        case when _noises.i > 0 then 0.002 * 150 ** ((_noises.i - 1) / 15.0) else 0 end as noise,
    from range(19) as _slopes (i)
    cross join range(11) as _shifts (i)
    cross join range(17) as _noises (i)
),

_shares as (
    select
        _bins.run,
        _grid.slope,
        _grid.shift,
        _grid.noise,
        _bins.n,
        _bins.n_agreeing,
        1 / (1 + exp(-_grid.slope * _bins.odds - _grid.shift)) as right_share,
        least(1 - 1e-9, greatest(
            1e-9, (1 - _grid.noise) * right_share + _grid.noise * (1 - right_share) / nullif(_bins.n_classes - 1, 0)
        )) as share,
        _bins.n_classes > 1 as is_defined,
    from _grid
    cross join _bins
),

_fits as (
    select
        run,
        slope,
        shift,
        noise,
        -- Rounded, so that the order of the additions decides no tie.
        round(sum(n_agreeing * ln(share) + (n - n_agreeing) * ln(1 - share)), 6) as log_likelihood,
    from _shares
    where is_defined
    group by run, slope, shift, noise
)

select
    slope,
    shift,
    noise,
    run,
from _fits
qualify row_number() over (
    partition by run order by log_likelihood desc, noise asc, slope asc, shift asc
) = 1;
