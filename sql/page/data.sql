-- The data of the page: one row per image, and thumbnails.

-- name: page_rows
-- What the page stores of each image as small numbers, in order of image_id; a uniform sample when `sampled`.
-- No label, prediction or cluster is -2, no confidence -1, no coordinates 65535; file names contain nothing above $folder.
-- $left, $low and $span are corner and size of the map; what lies beyond is moved to its edge.
with _images as (
    select
        images.image_id,
        images.sha256,
        images.uri,
        images.split,
        images.label,
        images.pred,
        images.confidence,
        images.cluster,
        {{ ('places.x' if places else 'images.x') if placed else 'null::float' }} as x,
        {{ ('places.y' if places else 'images.y') if placed else 'null::float' }} as y,
    from {{ ident(run) }} as images
{% if places %}
    left join (select image_id, x, y from query({{ literal(places) }})) as places on images.image_id = places.image_id
{% endif %}
{% if sampled %}
    order by images.sha256, images.image_id
    limit $max_rows
{% endif %}
),

-- Images of equal bytes share a place: that of the first of them.
_shared as (
    select
        sha256,
        arg_min(x, image_id) as x,
        arg_min(y, image_id) as y,
    from _images
    where isfinite(x)
        and isfinite(y)
    group by sha256
    having count(*) > 1
),

_files as (
    select
        image_id,
        -- The page shows no longer name; a file of others may hold one of many megabytes.
        right(case when starts_with(uri, $folder) then substr(uri, length($folder) + 1) else uri end, 500) as rest,
    from _images
),

_placed as (
    select
        _images.* exclude (x, y, sha256),
        _files.rest,
        (coalesce(_shared.x, _images.x)::double - $left::double) / nullif($span::double, 0) as x,
        (coalesce(_shared.y, _images.y)::double - $low::double) / nullif($span::double, 0) as y,
        isfinite(coalesce(_shared.x, _images.x)) and isfinite(coalesce(_shared.y, _images.y)) as is_placed,
    from _images
    inner join _files on _images.image_id = _files.image_id
    left join _shared on _images.sha256 = _shared.sha256
)

select
    image_id,
    case when is_placed then round(greatest(0, least(1, coalesce(x, 0))) * 65534) else 65535 end::usmallint as x,
    case when is_placed then round(greatest(0, least(1, coalesce(y, 0))) * 65534) else 65535 end::usmallint as y,
    coalesce(label, -2)::integer as label,
    coalesce(pred, -2)::integer as pred,
    coalesce(confidence, -1)::float as confidence,
    coalesce(cluster, -2)::integer as cluster,
    left(split, 200) as split,
{% if redacted %}
    '' as name,
{% else %}
    case
        when starts_with(uri, 'sha256:') then substr(uri, 1, 15) || '…'
        when regexp_matches(rest, '^([/\\~]|[A-Za-z]:[/\\]|[a-z0-9+.-]+://)')
            then array_to_string(regexp_split_to_array(split_part(rest, '?', 1), '[/\\]')[-2:], '/')
        else rest
    end as name,
{% endif %}
from _placed
order by image_id;


-- name: page_runs
-- Of several runs, those over the data set and the classes of the first, in that order.
-- Only these can be compared image by image.
select other.run
from runs as other
inner join runs as first
    on other.dataset = first.dataset
    and other.label_space is not distinct from first.label_space
where first.run = {{ literal(run) }}
    and other.run in ({% for run in runs %}{{ literal(run) }}{{ ', ' if not loop.last }}{% endfor %})
order by list_position([{% for run in runs %}{{ literal(run) }}{{ ', ' if not loop.last }}{% endfor %}], other.run);


-- name: page_outside
-- How many images another run has answered that are not on the page.
select count(*) as n
from {{ ident(run) }} as answers
anti join _page_images on answers.image_id = _page_images.image_id;


-- name: page_answers
-- What another run answers about the images of the page, in their order; no prediction is -2, no confidence -1.
-- Both are -2 where the run has no row for the image.
select
    coalesce(answers.pred, -2)::integer as pred,
    case when answers.image_id is null then -2 else coalesce(answers.confidence, -1) end::float as confidence,
from _page_images
left join {{ ident(run) }} as answers on _page_images.image_id = answers.image_id
order by _page_images.image_id;


-- name: page_label_probabilities
-- The probability of the label of each image of the page, in their order; unknown is -1.
select coalesce(_p_of(answers.probs, answers.label), -1)::float as p_label
from _page_images
left join {{ ident(run) }} as answers on _page_images.image_id = answers.image_id
order by _page_images.image_id;


-- name: page_slices
-- The value of one slice of each image of the page as a code, in their order; none is -1.
select coalesce(sliced.{{ ident(column) }}, -1)::integer as code
from _page_images
left join query({{ literal(relation) }}) as sliced on _page_images.image_id = sliced.image_id
order by _page_images.image_id;


-- name: page_suspects
-- The suspected labels among the images of the page, most probably wrong first. Images whose label of now somebody has
-- reviewed are left out.
select
    _page_images.image_id,
    _page_images.position,
    issues.suggested,
    issues.p_wrong,
    issues.self_confidence,
from label_issues({{ literal(run) }}) as issues
inner join _page_images on issues.image_id = _page_images.image_id
where issues.image_id not in (select label_history.image_id from label_history where label_history.is_current)
order by issues.p_wrong desc nulls last, issues.confidence desc, issues.image_id;


-- name: thumbnail_order
-- Which images get a thumbnail first: mistakes by confidence, suspected labels, then of each class in turn.
-- An image without a label belongs to its predicted class; within a class the order is that of sha256.
with _rows as (
    select
        _page_images.image_id,
        _page_images.position,
        images.sha256,
        images.confidence,
        coalesce(images.label, images.pred) as class,
        coalesce(not images.correct, false) as is_wrong,
        _page_suspects.self_confidence,
    from _page_images
    inner join {{ ident(run) }} as images on _page_images.image_id = images.image_id
    left join _page_suspects on _page_images.image_id = _page_suspects.image_id
)

select
    image_id,
    position,
from _rows
order by
    is_wrong desc,
    case when is_wrong and not isnan(confidence) then confidence end desc nulls last,
    self_confidence asc nulls last,
    row_number() over (partition by class order by sha256, image_id),
    image_id
limit $max_images;


-- name: large_order
-- Which images get a large picture first: mistakes, images on which the baseline differs, and suspected labels in turn.
-- Mistakes and differences by confidence; suspects by the probability that the label is wrong.
with _rows as (
    select
        _page_images.image_id,
        _page_images.position,
        case when not isnan(images.confidence) then images.confidence end as confidence,
        coalesce(not images.correct, false) as is_wrong,
        {{ 'coalesce(images.pred <> other.pred, false)' if baseline else 'false' }} as differs,
        _page_suspects.p_wrong,
        _page_suspects.image_id is not null as is_suspect,
    from _page_images
    inner join {{ ident(run) }} as images on _page_images.image_id = images.image_id
{% if baseline %}
    left join {{ ident(baseline) }} as other on _page_images.image_id = other.image_id
{% endif %}
    left join _page_suspects on _page_images.image_id = _page_suspects.image_id
),

_turns as (
    select
        image_id,
        position,
        3 * row_number() over (order by confidence desc nulls last, image_id) as turn,
    from _rows
    where is_wrong
    union all
    select
        image_id,
        position,
        3 * row_number() over (order by confidence desc nulls last, image_id) + 1 as turn,
    from _rows
    where differs
    union all
    select
        image_id,
        position,
        3 * row_number() over (order by p_wrong desc nulls last, confidence desc nulls last, image_id) + 2 as turn,
    from _rows
    where is_suspect
)

select
    image_id,
    position,
from _turns
group by image_id, position
order by min(turn)
limit $max_images;


-- name: detail_facts
-- What the dialog shows of the wanted images, in their order: sizes, statistics and meta.
select
    images.width_px,
    images.height_px,
    images.n_bytes,
    images.format,
    images.brightness,
    images.contrast,
    images.sharpness,
    images.colorfulness,
    images.entropy,
    -- A file of others may hold many megabytes of it.
    case when length(images.meta::varchar) <= 100000 then images.meta::varchar end as meta,
from _page_wanted
inner join {{ ident(run) }} as images on _page_wanted.image_id = images.image_id
order by _page_wanted.rank;


-- name: detail_probs
-- The probabilities of the wanted images, in any order.
select
    answers.image_id,
    answers.probs::float[] as probs,
from _page_wanted
inner join {{ ident(run) }} as answers on _page_wanted.image_id = answers.image_id;


-- name: detail_neighbors
-- The nearest images of each wanted image, and how many of its nearest labeled images have the predicted label.
-- Up to 6 of the page, up to 10 labeled ones; agree is -1 without a labeled neighbor or without a prediction.
with _near as (
    select
        _page_wanted.image_id,
        near.rank,
        _page_images.position,
        others.label,
    from _page_wanted
    inner join {{ 'neighbors' if stored else '_page_neighbors' }} as near on _page_wanted.image_id = near.image_id
{% if stored %}
        and near.run = {{ literal(run) }}
        and near.embedding = 'activation'
{% endif %}
    left join _page_images on near.neighbor_id = _page_images.image_id
    left join {{ ident(run) }} as others on near.neighbor_id = others.image_id
),

_lists as (
    select
        image_id,
        list(position order by rank) filter (where position is not null) as positions,
        list(label order by rank) filter (where label is not null) as labels,
    from _near
    group by image_id
)

select
    _lists.positions[:6]::uinteger[] as neighbors,
    case
        when answers.pred is null or coalesce(len(_lists.labels), 0) = 0 then -1
        else len(list_filter(_lists.labels[:10], lambda known: known = answers.pred))
    end::tinyint as agree,
    least(10, coalesce(len(_lists.labels), 0))::tinyint as n_near,
from _page_wanted
left join {{ ident(run) }} as answers on _page_wanted.image_id = answers.image_id
left join _lists on _page_wanted.image_id = _lists.image_id
order by _page_wanted.rank;


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
        nullif(cluster, -2)::integer as cluster,
        {{ '_page_facts.splits[split + 1]' if 'split' in columns else 'null' }}::varchar as split,
        {{ 'nullif(p_label, -1)' if 'p_label' in columns else 'null' }}::float as p_label,
{% for k in others %}
        nullif(pred_{{ k }}, -2)::integer as pred_{{ k }},
        case when not confidence_{{ k }} < 0 then confidence_{{ k }} end::float as confidence_{{ k }},
{% endfor %}
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
    _named.cluster,
    _named.split,
    _named.p_label,
{% for k in others %}
    _named.pred_{{ k }},
    preds_{{ k }}.name as pred_name_{{ k }},
    _named.confidence_{{ k }},
{% endfor %}
    _page_thumbnails.image as thumbnail,
    _page_large.image as large,
from _named
left join _page_classes as labels on _named.label = labels.class
left join _page_classes as preds on _named.pred = preds.class
{% for k in others %}
left join _page_classes as preds_{{ k }} on _named.pred_{{ k }} = preds_{{ k }}.class
{% endfor %}
left join _page_thumbnails on _named.position = _page_thumbnails.row
left join _page_large on _named.position = _page_large.row
order by _named.image_id;


-- name: name_page_column
-- Which run a column of a page is of.
comment on column temp.{{ ident(name) }}.{{ ident(column) }} is {{ literal(text) }};
