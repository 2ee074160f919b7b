-- The temperature that calibrates best, to be fitted on one split and used on another by with_temperature(rel, t).
-- Grain: one row.
-- Parameters: rel (one run), eps := 1.1754944e-38 (least probability: float32's; rounded: half the last digit)
-- Edges: rows and scores as proper_scores and calibration_error; t as _best_temperature; no rows: n = 0, NULL.
-- Source: Guo et al. (2017), On Calibration of Modern Neural Networks, ICML; logarithms of probabilities for logits
create or replace macro fit_temperature(rel, eps := 1.1754944e-38) as table
with _margins as materialized (
    from _log_margins(rel, eps := eps)
),

_softened as (
    select
        _margins.run,
        _margins.label,
        _margins.pred,
        _margins.confidence,
        _margins.p_label,
        _margins.label_margin,
        _margins.margins,
        _best.temperature,
        list_sum(list_transform(_margins.margins, lambda _z: exp(_z / _best.temperature))) as total,
    from _margins
    cross join _best_temperature('_margins') as _best
),

_after as (
    select
        run,
        label,
        pred,
        coalesce(exp(_p_of(margins, pred) / temperature) / total, confidence) as confidence,
        temperature,
        p_label as p_before,
        exp(label_margin / temperature) / total as p_after,
    from _softened
),

_losses as (
    select
        count(*) as n,
        any_value(temperature) as temperature,
        avg(-ln(least(greatest(p_before, 1.1920929e-07), 1 - 1.1920929e-07))) as log_loss_before,
        avg(-ln(least(greatest(p_after, 1.1920929e-07), 1 - 1.1920929e-07))) as log_loss_after,
    from _after
)

select
    _losses.n,
    _losses.temperature,
    case when isnan(_losses.temperature) then _losses.temperature else _losses.log_loss_before end as log_loss_before,
    case when isnan(_losses.temperature) then _losses.temperature else _losses.log_loss_after end as log_loss_after,
    _before.ece as ece_before,
    _softer.ece as ece_after,
    (select min(_rows.run) from query(_rel(rel)) as _rows) as run,
from _losses
cross join calibration_error('_margins') as _before
cross join calibration_error('_after') as _softer;
