-- How many rows of a relation are inconsistent; check this before trusting a metric.
-- Grain: one row per run.
-- Parameters: rel (or a list), tolerance := 1e-3 (for probabilities and their sums)
-- Edges: NaN counts in nan_probs alone; other_length is not the most frequent (longest on ties); no column probs: NULL.
-- Source: definition
create or replace macro check_run(rel, tolerance := 1e-3) as table
with _absent as (
    select
        null::float as confidence,
        null::float[] as probs,
        null::float as inside,
),

_rows as (
    select _given.*
    from _absent
    cross join lateral (
        select
            run,
            _is_empty,
            image_id,
            label,
            pred,
            confidence,
            probs is null as has_none,
            len(probs) as width,
            _p_of(probs, pred) as p_pred,
            list_min(probs) as p_min,
            list_max(probs) as p_max,
            list_sum(probs) as p_sum,
            inside,
            coalesce(isnan(list_max(probs)::double) or list_count(probs) < len(probs), false) as has_nan,
        from query(_rel(rel))
    ) as _given
),

_widths as (
    select
        run,
        width,
        count(*) as n,
    from _rows
    where width is not null
    group by run, width
),

_commonest as (
    select
        run,
        arg_max(width, (n, width)) as width,
    from _widths
    group by run
)

select
    count(*) filter (where _rows._is_empty is null) as n,
    count(_rows.image_id) - count(distinct _rows.image_id) as duplicate_images,
    count(*) filter (where _rows.label is null and _rows._is_empty is null) as no_label,
    count(*) filter (where _rows.pred is null and _rows._is_empty is null) as no_prediction,
    count(*) filter (where _rows.pred < 0 or _rows.pred >= _rows.width) as outside_classes,
    count(*) filter (where _rows.has_none and _rows._is_empty is null) as no_probs,
    count(*) filter (where _rows.width <> _commonest.width) as other_length,
    count(*) filter (where _rows.label < 0 or _rows.label >= _rows.width) as label_out_of_range,
    count(*) filter (where _rows.has_nan) as nan_probs,
    count(*) filter (
        where not _rows.has_nan and (_rows.p_min < -tolerance or _rows.p_max > 1 + tolerance)
    ) as outside_0_1,
    -- With class policy open, the outputs outside the classes have the rest.
    count(*) filter (
        where not _rows.has_nan
        and abs(_rows.p_sum - 1) > tolerance
        and coalesce(abs(_rows.p_sum - _rows.inside) > tolerance, true)
    ) as sum_not_1,
    -- A tie, or what rounding leaves of one, has several most probable classes.
    count(*) filter (
        where not _rows.has_nan
        and _rows.pred >= 0
        and _rows.p_max - coalesce(_rows.p_pred, '-inf'::double) > tolerance
    ) as pred_not_argmax,
    count(*) filter (
        where not _rows.has_nan and _rows.pred >= 0 and abs(_rows.confidence - _rows.p_pred) > tolerance
    ) as confidence_differs,
    count(*) filter (where _rows.confidence is null and _rows._is_empty is null) as no_confidence,
    _rows.run,
from _rows
left join _commonest on _rows.run = _commonest.run
group by _rows.run
order by _rows.run;
