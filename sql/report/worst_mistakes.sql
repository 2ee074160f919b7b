-- The most confident mistakes of a run, by name.
-- Grain: one row per image, at most $max_images.
-- Parameters: run, probs (whether the run has that column)
-- Edges: correct and unlabelled images are left out; without probs the label has no probability.
-- Source: macro worst
select
    mistakes.image_id,
    coalesce(images.label_name, mistakes.label::varchar) as label_name,
    case
        when mistakes.pred = -1 then '(outside)'
        else coalesce(images.pred_name, mistakes.pred::varchar)
    end as pred_name,
    mistakes.confidence,
    {{ 'mistakes.p_label' if probs else 'null::double as p_label' }},
    images.uri,
    images.width_px,
    images.height_px,
{% if probs %}
from worst({{ literal(run) }}, limit_n := $max_images) as mistakes
inner join {{ ident(run) }} as images on mistakes.image_id = images.image_id
{% else %}
from {{ ident(run) }} as mistakes
inner join {{ ident(run) }} as images on mistakes.image_id = images.image_id
where mistakes.label <> mistakes.pred
{% endif %}
order by
    case when not isnan(mistakes.confidence) then mistakes.confidence end desc nulls last,
    p_label,
    mistakes.image_id
limit $max_images;
