-- Places of images on the map, or a uniform sample of them.
-- Grain: one row per image, at most $max_points.
-- Parameters: run
-- Edges: the sample takes the first images in order of sha256, so that it is the same every time.
-- Source: the newest projection of the run
select
    image_id,
    x,
    y,
    label,
    pred,
    coalesce(label_name, label::varchar) as label_name,
    coalesce(pred_name, case pred when -1 then '(outside)' else pred::varchar end) as pred_name,
    correct,
from {{ ident(run) }}
where isfinite(x)
    and isfinite(y)
order by sha256, image_id
limit $max_points;
