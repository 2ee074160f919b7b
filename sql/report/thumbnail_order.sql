-- Which images deserve a thumbnail first: mistakes by confidence, suspected label errors, then of each class in turn.
-- Grain: one row per image, at most $max_images.
-- Parameters: run, probs (whether the run has that column), sampled
-- Edges: an image without a label belongs to its predicted class; the order within a class is that of sha256.
-- Source: macro label_issues (Northcutt, Jiang & Chuang 2021)
with _images as (
    select
        image_id,
        sha256,
        label,
        pred,
        confidence,
        coalesce(label, pred) as class,
        coalesce(label <> pred, false) as is_wrong,
    from {{ ident(run) }}
{% if sampled %}
    order by sha256, image_id
    limit $max_rows
{% endif %}
),

_places as (
    select
        image_id,
        row_number() over (order by image_id) - 1 as place,
    from _images
),

_suspects as (
{% if probs %}
    select
        image_id,
        self_confidence,
    from label_issues({{ literal(run) }})
{% else %}
    select
        image_id,
        null::float as self_confidence,
    from _images
    where false
{% endif %}
)

select
    _images.image_id,
    _places.place,
from _images
inner join _places on _images.image_id = _places.image_id
left join _suspects on _images.image_id = _suspects.image_id
order by
    _images.is_wrong desc,
    case when _images.is_wrong and not isnan(_images.confidence) then _images.confidence end desc nulls last,
    _suspects.self_confidence asc nulls last,
    row_number() over (partition by _images.class order by _images.sha256, _images.image_id),
    _images.image_id
limit $max_images;
