-- The map: two-dimensional coordinates of the newest projection of the run.

-- name: map_points
-- Coordinates of images, or of a uniform sample of them: the first $max_points by sha256, always the same.
select
    image_id,
    x,
    y,
    label,
    pred,
    coalesce(label_name, label::varchar) as label_name,
    coalesce(pred_name, case pred when -1 then '(outside)' else pred::varchar end) as pred_name,
    correct,
    cluster,
from {{ ident(run) }}
where isfinite(x)
    and isfinite(y)
order by sha256, image_id
limit $max_points;


-- name: page_bounds
-- The corner and the size of the map, which convert the page's coordinates back to the projection's.
select
    min(x)::double as left_x,
    min(y)::double as low_y,
    (max(x) - min(x))::double as width,
    (max(y) - min(y))::double as height,
from {{ ident(run) }}
where isfinite(x)
    and isfinite(y);
