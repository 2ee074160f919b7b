-- The data of the page: one row per image, and thumbnails.

-- name: page_rows
-- What the page stores of each image as small numbers, in order of image_id; a uniform sample when `sampled`.
-- No label, prediction or cluster is -2, no confidence -1, no coordinates 65535; file names contain nothing above $folder.
with _images as (
    select
        images.image_id,
        images.uri,
        images.label,
        images.pred,
        images.confidence,
        images.cluster,
        {{ 'images.x' if placed else 'null::float' }} as x,
        {{ 'images.y' if placed else 'null::float' }} as y,
{% if others %}
        {% for other in others %}
        {{ '+ ' if not loop.first }}(coalesce(other_{{ loop.index }}.pred <> images.pred, false))::utinyint
        {% endfor %}
        as differ,
{% endif %}
    from {{ ident(run) }} as images
{% for other in others %}
    left join {{ ident(other) }} as other_{{ loop.index }} on images.image_id = other_{{ loop.index }}.image_id
{% endfor %}
{% if sampled %}
    order by images.sha256, images.image_id
    limit $max_rows
{% endif %}
),

_bounds as (
    select
        min(x) as left_x,
        min(y) as low_y,
        greatest(max(x) - min(x), max(y) - min(y)) as span,
    from _images
    where isfinite(x)
        and isfinite(y)
),

_files as (
    select
        image_id,
        -- The page shows no longer name; a file of others may hold one of many megabytes.
        right(case when starts_with(uri, $folder) then substr(uri, length($folder) + 1) else uri end, 500) as rest,
    from _images
)

select
    _images.image_id - lag(_images.image_id, 1, 0) over (order by _images.image_id) as id_step,
    case
        when isfinite(_images.x) and isfinite(_images.y)
            then round(coalesce((_images.x - _bounds.left_x) / nullif(_bounds.span, 0), 0) * 65534)
        else 65535
    end::usmallint as x,
    case
        when isfinite(_images.x) and isfinite(_images.y)
            then round(coalesce((_images.y - _bounds.low_y) / nullif(_bounds.span, 0), 0) * 65534)
        else 65535
    end::usmallint as y,
    coalesce(_images.label, -2)::integer as label,
    coalesce(_images.pred, -2)::integer as pred,
    coalesce(_images.confidence, -1)::float as confidence,
    coalesce(_images.cluster, -2)::integer as cluster,
{% if redacted %}
    '' as name,
{% else %}
    case
        when starts_with(_images.uri, 'sha256:') then substr(_images.uri, 1, 15) || '…'
        when regexp_matches(_files.rest, '^([/\\~]|[A-Za-z]:[/\\]|[a-z0-9+.-]+://)')
            then array_to_string(regexp_split_to_array(split_part(_files.rest, '?', 1), '[/\\]')[-2:], '/')
        else _files.rest
    end as name,
{% endif %}
{% if others %}
    _images.differ,
{% endif %}
from _images
inner join _files on _images.image_id = _files.image_id
cross join _bounds
order by _images.image_id;


-- name: thumbnail_order
-- Which images get a thumbnail first: mistakes by confidence, suspected labels, then of each class in turn.
-- An image without a label belongs to its predicted class; within a class the order is that of sha256.
with _images as (
    select
        image_id,
        sha256,
        confidence,
        coalesce(label, pred) as class,
        coalesce(not correct, false) as is_wrong,
    from {{ ident(run) }}
{% if sampled %}
    order by sha256, image_id
    limit $max_rows
{% endif %}
),

_positions as (
    select
        image_id,
        row_number() over (order by image_id) - 1 as position,
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
    _positions.position,
from _images
inner join _positions on _images.image_id = _positions.image_id
left join _suspects on _images.image_id = _suspects.image_id
order by
    _images.is_wrong desc,
    case when _images.is_wrong and not isnan(_images.confidence) then _images.confidence end desc nulls last,
    _suspects.self_confidence asc nulls last,
    row_number() over (partition by _images.class order by _images.sha256, _images.image_id),
    _images.image_id
limit $max_images;


-- name: thumbnail_images
-- Bytes or path of the images $ids, all between $low and $high, so that many calls read the file once.
with _images as (
    select
        image_id,
        uri,
        sha256,
    from images
    where image_id between $low and $high
        and image_id in (select unnest($ids))
),

_bytes as (
    select
        image_id,
        bytes,
    from image_bytes
    where image_id between $low and $high
        and image_id in (select unnest($ids))
)

select
    _images.image_id,
    struct_pack(bytes := _bytes.bytes, path := _images.uri, sha256 := _images.sha256) as image,
from _images
left join _bytes on _images.image_id = _bytes.image_id;


-- name: read_page
-- The rows of a page as a temporary table of any connection, the inverse of page_rows.
-- Coordinates are exact to 1/65,534 of the map.
create or replace temporary table {{ ident(name) }} as
with _named as (
    select
        _page_rows.position,
        sum(id_step) over (order by _page_rows.position)::bigint as image_id,
        name as uri,
        nullif(label, -2)::integer as label,
        nullif(pred, -2)::integer as pred,
        nullif(confidence, -1)::float as confidence,
        case when x < 65535 then _page_facts.left + x / 65534 * _page_facts.span end::float as x,
        case when y < 65535 then _page_facts.low + y / 65534 * _page_facts.span end::float as y,
    from _page_rows
    cross join _page_facts
)

select
    _named.image_id,
    _named.uri,
    _named.label,
    labels.name as label_name,
    _named.pred,
    preds.name as pred_name,
    _named.confidence,
    -- The definition of _correct, a macro that this connection may not have.
    _named.label = _named.pred and _named.pred >= 0 as correct,
    _named.x,
    _named.y,
    _page_thumbnails.image as thumbnail,
from _named
left join _page_classes as labels on _named.label = labels.class
left join _page_classes as preds on _named.pred = preds.class
left join _page_thumbnails on _named.position = _page_thumbnails.row
order by _named.image_id;
