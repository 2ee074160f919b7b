-- The map: where the images of the page stand, by the newest projection of the run or by what there is to compute one from.

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


-- name: map_counts
-- How many images have something to be placed by, the best first; a column that the run lacks counts none.
select
    count(*) as n_images,
    count(*) filter (where isfinite(x) and isfinite(y)) as n_projected,
    {{ 'count(activation)' if 'activation' in names else '0' }} as n_activations,
    {{ 'count(probs)' if 'probs' in names else '0' }} as n_probabilities,
    count(brightness + contrast + sharpness + colorfulness + entropy) as n_statistics,
from {{ ident(run) }};


-- name: map_rows
-- The images of the page that have a place, in order of image_id. first_id is the first of them with the same bytes.
with _images as (
    select
        image_id,
        sha256,
        label,
        pred,
        correct,
        x,
        y,
    from {{ ident(run) }}
{% if sampled %}
    order by sha256, image_id
    limit $max_rows
{% endif %}
)

select
    _images.image_id,
    min(_images.image_id) over (partition by _images.sha256) as first_id,
    coalesce(_images.label, -2)::integer as label,
    coalesce(_images.pred, -2)::integer as pred,
    -- 1 wrong, 0 right, -1 neither.
    coalesce((not _images.correct)::tinyint, -1)::tinyint as wrong,
{% if by == 'projection' %}
    _images.x,
    _images.y,
from _images
where isfinite(_images.x)
    and isfinite(_images.y)
{% else %}
    _places.x,
    _places.y,
from _images
inner join _places on _images.image_id = _places.image_id
{% endif %}
order by _images.image_id;


-- name: map_vectors
-- What images are placed by where no projection is stored; one image in $every, chosen by the hash of its id.
select
    image_id,
    {{ {'activations': 'activation', 'probabilities': 'probs'}.get(by, 'array_value(brightness, contrast, ln(1 + sharpness), colorfulness, entropy)') }} as vector,
from {{ ident(run) }}
where hash(image_id) % $every = 0
    and {{ {'activations': 'activation', 'probabilities': 'probs'}.get(by, 'brightness + contrast + sharpness + colorfulness + entropy') }} is not null;


-- name: map_files
-- Files of images in the page without labels and predictions, for the words that are typical of a region.
select
    image_id,
    right(uri, 500) as uri,
from {{ ident(run) }}
where not starts_with(uri, 'sha256:')
order by sha256, image_id
limit $max_files;


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
