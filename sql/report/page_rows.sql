-- What the page holds of each image: place, label, prediction, confidence, file name; small numbers, in order of id.
-- Grain: one row per image, or of a uniform sample of $max_rows when `sampled`.
-- Parameters: run, others (runs whose predictions are compared), placed (whether the run has a projection), sampled
-- Edges: no label or prediction is -2, no confidence -1, no place 65535; a file name shows nothing above $folder.
-- Source: this project
with _images as (
    select
        images.image_id,
        images.uri,
        images.label,
        images.pred,
        images.confidence,
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
        case when starts_with(uri, $folder) then substr(uri, length($folder) + 1) else uri end as rest,
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
