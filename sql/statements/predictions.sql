-- Predictions from elsewhere: rows of a file or table (source_rows), matched with images and classes (_imported).

-- name: create_source_rows
-- A file or table of predictions under one name.
create or replace temp view source_rows as
{% if kind == 'table' %}
from {{ ident(source) }};
{% else %}
from read_{{ kind }}({{ literal(source) }});
{% endif %}


-- name: describe_source_rows
-- Columns of a source of predictions, and their types.
select
    column_name,
    column_type,
from (describe source_rows);


-- name: create_imported
-- Match predictions with images and classes; column problem says why a row cannot be used.
-- The first row of an image counts; a path must end exactly one uri, without its leading ./; NaN in pred is NULL.
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
    where label_space = $label_space
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
    coalesce(_given.given_confidence, _p_of(_given.probs, pred)) as confidence,
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


-- name: count_imported
-- How many rows can be used, how many cannot, and how many of the former have a prediction.
select
    count(*) filter (where problem is null) as n_ok,
    count(*) filter (where problem is not null) as n_errors,
    count(pred) filter (where problem is null) as n_predicted,
from _imported;


-- name: read_import_problem
-- What is wrong with the first row that cannot be used.
select problem
from _imported
where problem is not null
order by problem
limit 1;


-- name: insert_imported
-- Store the predictions that have an image and a class.
insert into outputs.{{ ident(run) }}
select
    image_id,
    sha256,
{% for name in names %}
    {{ ident(name) }},
{% endfor %}
from _imported
where problem is null;


-- name: insert_import_errors
-- Store the rows that cannot be used as errors of the run.
insert into errors (run, dataset, image_id, uri, sha256, stage, error, message)
select
    $run as run,
    $dataset as dataset,
    image_id,
    uri,
    sha256,
    'write' as stage,
    'SchemaError' as error,
    problem as message,
from _imported
where problem is not null;
