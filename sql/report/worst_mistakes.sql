-- The most confident mistakes of a run, by name.
-- Grain: one row per image, at most $max_images.
-- Parameters: run
-- Edges: correct and unlabelled images are left out; pred -1 is a class outside the data set.
-- Source: macro worst
select
    mistakes.image_id,
    coalesce(images.label_name, mistakes.label::varchar) as label_name,
    coalesce(images.pred_name, if(mistakes.pred = -1, '(outside)', mistakes.pred::varchar)) as pred_name,
    mistakes.confidence,
    mistakes.p_label,
    images.uri,
    images.width_px,
    images.height_px,
from worst({{ literal(run) }}, limit_n := $max_images) as mistakes
inner join {{ ident(run) }} as images on mistakes.image_id = images.image_id
where mistakes.label <> mistakes.pred
order by mistakes.confidence desc, mistakes.image_id;
