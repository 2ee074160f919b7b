-- A relation with its probabilities softened (t > 1) or sharpened (t < 1): softmax(ln p / t); every column is kept.
-- Grain: one row per row of rel.
-- Parameters: rel (or a list; with probs, pred and confidence), t, eps := null (least probability; null: float32's)
-- Edges: confidence: of pred, unchanged for pred below 0 or NULL; NULL, NaN stay; zeros that t makes matter: error.
-- Source: Guo et al. (2017), On Calibration of Modern Neural Networks, ICML; logarithms of probabilities for logits
create or replace macro with_temperature(rel, t, eps := null) as table
with _tops as (
    select
        *,
        coalesce(eps, 1.1754944e-38) as _least,
        ln(greatest(list_max(probs), _least)) as _top,
        case when t > 0 then t else error('t must be positive') end as _scale,
    from query(_rel(rel))
    where _is_empty is null
),

-- Relative to the largest, so that not all of them can underflow to 0.
_powers as (
    select
        *,
        list_transform(probs, lambda _p: exp((ln(greatest(_p, _least)) - _top) / _scale)) as _power,
    from _tops
),

_sums as (
    select
        *,
        list_sum(_power) as _total,
    from _powers
),

_shares as (
    select
        *,
        list_transform(_power, lambda _p: (_p / _total)::float) as _share,
    from _sums
),

-- One column at a time: DuckDB keeps several in no certain order, and a definition must read the same in every file.
_confident as ( -- noqa: ST03
    select * replace (coalesce(_p_of(_share, pred), confidence) as confidence)
    from _shares
)

select * exclude (_is_empty, _least, _top, _scale, _power, _total, _share) replace (_share as probs),
from _confident
where case
    -- What float32 keeps as 0 was anything below: only a temperature that makes it matter needs to know.
    when eps is null
        and len(list_filter(probs, lambda _p: _p < _least)) * exp((ln(_least) - _top) / _scale) > 1e-3 * _total
        then error(format(
            '{}: {} of its probabilities are 0 as float32, and at t = {} they matter; ruled out: eps := 1e-300, '
            || 'lost by rounding: eps := 1e-38, or a smaller t',
            coalesce('image ' || image_id, 'an image'), len(list_filter(probs, lambda _p: _p < _least)), _scale
        ))
    else true
end;
