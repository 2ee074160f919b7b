-- The answers that the model is least sure of, right or wrong.
-- Grain: one row per image, at most $max_images.
-- Parameters: run
-- Edges: images without a prediction or a confidence are left out; correct is NULL without a label.
-- Source: this project
select
    image_id,
    coalesce(label_name, label::varchar) as label_name,
    coalesce(pred_name, case pred when -1 then '(outside)' else pred::varchar end) as pred_name,
    confidence,
    null::double as p_label,
    correct,
    uri,
    width_px,
    height_px,
from {{ ident(run) }}
where pred is not null
    and not isnan(confidence::double)
order by confidence, image_id
limit $max_images;
