-- Match predictions from elsewhere with images and classes.
-- Grain: one row per row of the relation source_rows.
-- Parameters: image_id, path, pred, confidence, probs (columns or none), by_index; dataset, space, size
-- Edges: the first row of an image counts; a path must end one uri, without its ./; NaN in pred is no prediction.
-- Source: this project
{% set value = ident(pred) if pred else 'null' %}
create or replace temp table _imported as
with _given as (
    select
        row_number() over () as position,
        {{ ident(image_id) ~ '::bigint' if image_id else 'null::bigint' }} as given_id,
        regexp_replace({{ ident(path) ~ '::varchar' if path else 'null::varchar' }}, '^(\./+)+', '') as given_path,
        case
            when typeof({{ value }}) in ('DOUBLE', 'FLOAT') then nullif(regexp_replace({{ value }}::varchar, '\.0$', ''), 'nan')
            else {{ value }}::varchar
        end as given_pred,
        {{ ident(confidence) ~ '::float' if confidence else 'null::float' }} as given_confidence,
        {{ ident(probs) ~ '::float[]' if probs else 'null::float[]' }} as probs,
    from source_rows
),

_matched as (
    select
        _given.position,
        count(images.image_id) as n_found,
        any_value(images.image_id) as image_id,
        any_value(images.uri) as uri,
        any_value(images.sha256) as sha256,
    from _given
    left join images
        on images.dataset = $dataset
        and {% if image_id %}images.image_id = _given.given_id{% else %}parse_filename(images.uri) = parse_filename(_given.given_path)
        and (images.uri = _given.given_path or ends_with(images.uri, '/' || _given.given_path)){% endif %}

    group by _given.position
),

_classes as (
    select
        class,
        unnest({% if by_index %}[class::varchar]{% else %}[name, extra ->> 'wnid']{% endif %}) as key,
    from classes
    where space = $space
    union
    select -1 as class, '-1' as key
),

_classified as (
    select
        _given.position,
        min(_classes.class) as class,
    from _given
    inner join _classes
        on {% if by_index %}try_cast(_given.given_pred as double) = _classes.class{% else %}_given.given_pred = _classes.key{% endif %}

    group by _given.position
)

select
    _matched.image_id,
    coalesce(_matched.uri, _given.given_path) as uri,
    _matched.sha256,
    coalesce(_classified.class, argmax(_given.probs)) as pred,
    coalesce(_given.given_confidence, _given.probs[pred + 1]) as confidence,
    _given.probs,
    case
        when _matched.n_found = 0 then 'no image ' || coalesce(_given.given_path, _given.given_id::varchar, 'NULL')
        when _matched.n_found > 1 then _matched.n_found || ' images end with ' || _given.given_path
        when row_number() over (partition by _matched.image_id order by _given.position) > 1
            then 'a second row for the same image'
        when _given.given_pred is not null and _classified.class is null then 'no class ' || _given.given_pred
        when isnan(list_max(_given.probs)) then 'NaN in probs'
        when len(_given.probs) <> $size then len(_given.probs) || ' probabilities, expected ' || $size
    end as problem,
from _given
inner join _matched on _given.position = _matched.position
left join _classified on _given.position = _classified.position;
