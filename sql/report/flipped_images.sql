-- Images that one of two runs gets right and the other wrong.
-- Grain: one row per image, at most $max_images newly wrong and as many newly right, the most confident first.
-- Parameters: run, baseline
-- Edges: won is true where the run is right and the baseline is not; NULL or NaN confidence comes last.
-- Source: macro paired
with _flips as (
    select
        image_id,
        ok_b as won,
    from paired({{ literal(baseline) }}, {{ literal(run) }})
    where ok_a <> ok_b
)

select
    images.image_id,
    _flips.won,
    coalesce(images.label_name, images.label::varchar) as label_name,
    coalesce(images.pred_name, case images.pred when -1 then '(outside)' else images.pred::varchar end) as pred_name,
    coalesce(
        before.pred_name, case before.pred when -1 then '(outside)' else before.pred::varchar end
    ) as before_name,
    images.confidence,
    images.uri,
    images.width_px,
    images.height_px,
from _flips
inner join {{ ident(run) }} as images on _flips.image_id = images.image_id
inner join {{ ident(baseline) }} as before on _flips.image_id = before.image_id
qualify row_number() over (
    partition by _flips.won
    order by case when not isnan(images.confidence) then images.confidence end desc nulls last, images.image_id
) <= $max_images
order by
    _flips.won,
    case when not isnan(images.confidence) then images.confidence end desc nulls last,
    images.image_id;
