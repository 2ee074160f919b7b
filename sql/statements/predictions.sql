-- Predictions from elsewhere: given rows (source_rows), matched with images and classes (_imported), checked and
-- converted (_checked, _converted), stored.

-- name: list_sources
-- Names of the tables and views that can be given by name, temporary ones too.
select table_name
from information_schema.tables
where table_catalog = 'temp'
    or (table_catalog = current_database() and table_schema = 'main');


-- name: read_source
-- All rows of a table or view.
from {{ ident(source) }};


-- name: read_given_ids
-- How many image ids there are, and how many of them are whole numbers as people write them.
select
    count(given_id) as n,
    count(*) filter (where regexp_full_match(given_id, '0|[1-9][0-9]{0,17}')) as n_whole,
from source_rows;


-- name: read_given_preds
-- Every prediction as it was given, with the index beside a name; the first row of each, and how many.
select
    given_pred,
    other_pred,
    min(position) as position,
    count(*) as n,
from source_rows
where given_pred is not null
    or other_pred is not null
group by given_pred, other_pred
order by position;


-- name: create_image_ids
-- Images by their number in this file, or by the number that their own source gave them.
create or replace temp table _ids as
with _known as (
    select
        image_id,
        uri,
        case
            when json_type(meta) = 'OBJECT'
                then coalesce(meta ->> 'image_id', meta ->> 'imageid', meta ->> 'img_id', meta ->> 'id')
        end as source_id,
    from images
    where dataset = ?
),

_given as (
    select distinct given_id
    from source_rows
    where given_id is not null
),

_own as (
    select
        source_id,
        count(*) as n,
        any_value(image_id) as image_id,
        any_value(uri) as uri,
    from _known
    where source_id is not null
    group by source_id
)

select
    _given.given_id,
    _known.image_id,
    _known.uri,
    _own.image_id as source_image_id,
    _own.uri as source_uri,
    _own.n as n_source,
from _given
left join _known on try_cast(_given.given_id as bigint) = _known.image_id
left join _own on _given.given_id = _own.source_id;


-- name: create_id_paths
-- Image ids as paths: names of files, mostly without an ending.
create or replace temp view _id_paths as
select given_id as path
from source_rows;


-- name: read_id_readings
-- What numbers in image_id could mean: rows by our number, by that of their source, by a file of this name; the first
-- row in which our image is another one than each of the others; whether there is a 0, which no image has.
select
    count(_ids.image_id) as n_ours,
    count(_ids.source_image_id) filter (where _ids.n_source = 1) as n_source,
    count(_found.image_id) filter (where _found.problem is null) as n_named,
    min(source_rows.position) filter (where _ids.image_id <> _ids.source_image_id) as source_position,
    min(source_rows.position) filter (
        where _ids.image_id <> _found.image_id
        and _found.problem is null
    ) as named_position,
    coalesce(bool_or(source_rows.given_id = '0'), false)
    and not exists (from images where image_id = 0) as has_zero,
from source_rows
inner join _ids on source_rows.given_id = _ids.given_id
left join _found on source_rows.given_id = _found.path;


-- name: read_padded_names
-- Ids that a reader of numbers took the zeros from: 7 of 0007.jpg; how many, and the first of another image than ours.
with _padded as (
    select
        parse_filename(uri, true, 'both_slash')::hugeint as number,
        any_value(image_id) as image_id,
        any_value(uri) as uri,
    from images
    where dataset = ?
        and regexp_full_match(parse_filename(uri, true, 'both_slash'), '0[0-9]{1,18}')
    group by number
    having count(*) = 1
)

select
    count(*) as n,
    min(struct_pack(
        position := source_rows.position, given_id := source_rows.given_id, ours := _ids.uri, named := _padded.uri
    )) filter (where _ids.image_id <> _padded.image_id) as conflict,
from source_rows
inner join _padded on try_cast(source_rows.given_id as hugeint) = _padded.number
left join _ids on source_rows.given_id = _ids.given_id;


-- name: read_falling_rows
-- Of the first 1,000 rows with a list: how many, how many fall from the first value to the last, how many differ.
with _first as (
    select probs
    from source_rows
    where position <= 1000 and probs is not null
)

select
    count(*) as n,
    count(*) filter (where probs = list_reverse_sort(probs)) as n_falling,
    count(distinct hash(probs)) as n_different,
from _first;


-- name: count_unanswered
-- Images of a data set without a row of their own, and rows of images without a prediction.
select
    (
        select count(*)
        from images
        where dataset = $dataset
            and image_id not in (select image_id from _rows where image_id is not null)
    ) as n_without_row,
    (
        select count(*)
        from _imported
        inner join source_rows on _imported.position = source_rows.position
        where _imported.problem is null
            and _imported.class is null
            and source_rows.probs is null
    ) as n_without_pred;


-- name: read_id_conflict
-- The readings of the image id of one row.
select
    source_rows.given_id,
    _ids.uri,
    _ids.source_uri,
    case when _found.problem is null then _found.uri end as named_uri,
from source_rows
inner join _ids on source_rows.given_id = _ids.given_id
left join _found on source_rows.given_id = _found.path
where source_rows.position = ?;


-- name: create_rows_of_images
-- The image of every row: by its path, by our image id, or by that of its source.
create or replace temp table _rows as
{% if by == 'path' %}
select
    source_rows.position,
    case when _found.problem is null then _found.image_id end as image_id,
    case when _found.problem is null then coalesce(_found.uri, source_rows.{{ ident(path) }}) else source_rows.{{ ident(path) }} end as uri,
    _found.step,
    coalesce(_found.problem, case when _found.path is null then 'no image NULL' end) as problem,
from source_rows
left join _found on source_rows.{{ ident(path) }} = _found.path;
{% else %}
select
    source_rows.position,
    {{ 'source_image_id as image_id' if by == 'source id' else 'image_id' }},
    {{ 'source_uri as uri' if by == 'source id' else 'uri' }},
    {{ literal(by) }} as step,
    case
        when {{ 'source_image_id' if by == 'source id' else 'image_id' }} is null
            then 'no image ' || coalesce(source_rows.given_id, 'NULL')
{% if by == 'source id' %}
        when n_source > 1 then n_source || ' images have the image_id ' || source_rows.given_id
{% endif %}
    end as problem,
from source_rows
left join _ids on source_rows.given_id = _ids.given_id;
{% endif %}


-- name: read_id_disagreement
-- The first row whose path and image id are different images.
select
    source_rows.position,
    source_rows.path,
    _rows.image_id,
    source_rows.given_id,
    _ids.uri,
    count(*) over () as n,
from source_rows
inner join _rows on source_rows.position = _rows.position
left join _ids on source_rows.given_id = _ids.given_id
where _rows.problem is null
    and source_rows.given_id is not null
    and _rows.image_id is distinct from try_cast(source_rows.given_id as bigint)
    and _rows.image_id is distinct from _ids.source_image_id
order by source_rows.position
limit 1;


-- name: create_imported
-- The image and class of every row; column problem says why a row cannot be used.
create or replace temp table _imported as
select
    _rows.position,
    _rows.image_id,
    _rows.uri,
    images.sha256,
    _rows.step,
    _given_classes.class,
    source_rows.given_pred,
    case
        when source_rows.given_dataset <> $dataset and source_rows.given_dataset in (select dataset from datasets)
            then 'the row is of data set ' || source_rows.given_dataset
        when _rows.problem is not null then _rows.problem
        when source_rows.given_pred is not null and _given_classes.class is null
            then 'no class ' || source_rows.given_pred
        when isnan(list_max(source_rows.probs)) then 'NaN in probs'
        when list_count(source_rows.probs) < len(source_rows.probs) then 'NULL in probs'
        when isinf(list_max(source_rows.probs)) then 'infinity in probs'
        when len(source_rows.probs) <> $size then len(source_rows.probs) || ' probabilities, expected ' || $size
    end as problem,
from source_rows
inner join _rows on source_rows.position = _rows.position
left join images on _rows.image_id = images.image_id and images.dataset = $dataset
left join _given_classes on source_rows.given_pred = _given_classes.key;


-- name: count_shifted
-- Rows with a class: how many, how many of them class 0. Of those with a label and of those with probabilities: how
-- many, how many agree as they are, how many counted from 1. Logits, logs and percents have the same largest value.
select
    count(*) as n,
    count(*) filter (where _imported.class = 0) as n_zero,
    count(images.label) as n_labeled,
    count(*) filter (where _imported.class = images.label) as n_same,
    count(*) filter (where _imported.class = images.label + 1) as n_shifted,
    count(_tops.top) as n_probs,
    count(*) filter (where _tops.p_pred = _tops.p_top) as n_top,
    count(*) filter (where _imported.class = _tops.top + 1 and _tops.p_pred < _tops.p_top) as n_top_shifted,
from _imported
left join images on _imported.image_id = images.image_id
left join (
    select
        _imported.position,
        argmax(source_rows.probs) as top,
        list_max(source_rows.probs) as p_top,
        _p_of(source_rows.probs, _imported.class) as p_pred,
    from _imported
    inner join source_rows on _imported.position = source_rows.position
) as _tops on _imported.position = _tops.position
where _imported.class >= 0;


-- name: read_given_labels
-- What the table says about labels, once each.
select distinct given_label
from source_rows
where given_label is not null;


-- name: count_given_labels
-- Rows of labeled images whose table names a class as the label: how many, how many name that of the image. Of those
-- with a prediction: how many, how many name that one. The first row that names another one than the image has.
with _labeled as (
    select
        _imported.position,
        _imported.uri,
        source_rows.given_label,
        _given_labels.class as given_class,
        coalesce(_imported.class, argmax(source_rows.probs)) as predicted,
        images.label,
    from _imported
    inner join source_rows on _imported.position = source_rows.position
    inner join _given_labels on source_rows.given_label = _given_labels.key
    inner join images on _imported.image_id = images.image_id
    where images.label is not null
)

select
    count(*) as n,
    count(*) filter (where given_class = label) as n_same,
    count(predicted) as n_predicted,
    count(*) filter (where given_class = predicted) as n_as_predicted,
    min(position) filter (where given_class <> label) as row_number,
    arg_min(uri, position) filter (where given_class <> label) as uri,
    arg_min(given_label, position) filter (where given_class <> label) as given_label,
    arg_min(label, position) filter (where given_class <> label) as label,
from _labeled;


-- name: count_given_datasets
-- Rows whose column names a data set of this file, and rows that name something else; the first of these names.
select
    count(*) filter (where given_dataset in (select dataset from datasets)) as n_known,
    count(*) filter (where given_dataset not in (select dataset from datasets)) as n_other,
    arg_min(given_dataset, position) filter (where given_dataset not in (select dataset from datasets)) as other,
from source_rows
where given_dataset is not null;


-- name: read_conflict
-- The first image with two rows that say different things.
with _repeated as (
    select image_id
    from _imported
    where image_id is not null
    group by image_id
    having count(*) > 1
),

_values as (
    select
        _imported.image_id,
        _imported.uri,
        _imported.position,
        coalesce(_imported.class::varchar, _imported.given_pred) as class,
        _imported.given_pred,
        source_rows.confidence,
        source_rows.probs,
    from _imported
    inner join _repeated on _imported.image_id = _repeated.image_id
    inner join source_rows on _imported.position = source_rows.position
)

select
    any_value(uri) as uri,
    min(position) as first,
    max(position) as last,
    arg_min(coalesce(given_pred, 'NULL'), position) as first_pred,
    arg_max(coalesce(given_pred, 'NULL'), position) as last_pred,
    arg_min(coalesce(confidence::varchar, 'NULL'), position) as first_confidence,
    arg_max(coalesce(confidence::varchar, 'NULL'), position) as last_confidence,
    arg_min(coalesce(probs::varchar, 'NULL'), position) as first_probs,
    arg_max(coalesce(probs::varchar, 'NULL'), position) as last_probs,
    count(*) over () as n,
from _values
group by image_id
having count(distinct row(class, confidence, probs)) > 1
order by first
limit 1;


-- name: delete_repeated
-- Leave one of the rows that say the same about an image.
delete from _imported
where position in (
    select position
    from _imported
    where image_id is not null
    qualify row_number() over (partition by image_id order by position) > 1
);


-- name: create_checked
-- Rows that can be used, as they were given.
create or replace temp view _checked as
select
    _imported.position,
    'row ' || _imported.position || ' (' || _imported.uri || ')' as row_name,
    _imported.class as pred,
    source_rows.confidence,
    source_rows.probs,
from _imported
inner join source_rows on _imported.position = source_rows.position
where _imported.problem is null;


-- name: read_output_facts
-- What the rows of probs are, and the range of confidence (sqlanalysis/runs/gate.py).
with _rows as (
    select
        confidence,
        list_min(probs)::double as p_min,
        list_max(probs)::double as p_max,
        list_sum(probs)::double as p_sum,
        case when p_max <= {{ sum_tolerance }} then list_sum(list_transform(probs, lambda p: exp(p::double))) end as e_sum,
        case when p_max <= {{ sum_tolerance }} then list_sum(list_transform(probs, lambda p: pow(10, p::double))) end as ten_sum,
        case when p_min >= -{{ sum_tolerance }} then list_sum(list_transform(probs, lambda p: exp(-p::double))) end as minus_sum,
    from {{ ident(relation) }}
)

select
    count(p_min) as n,
    count(*) filter (where p_min >= -{{ range_tolerance }} and p_max <= 1 + {{ range_tolerance }}) as n_unit,
    count(*) filter (
        where p_min >= -{{ range_tolerance }} and p_max <= 1 + {{ range_tolerance }} and abs(p_sum - 1) <= {{ sum_tolerance }}
    ) as n_probs,
    count(*) filter (
        where p_min >= -{{ range_tolerance }} and p_max <= 100 * (1 + {{ sum_tolerance }}) and abs(p_sum - 100) <= 100 * {{ sum_tolerance }}
    ) as n_percent,
    count(*) filter (where abs(e_sum - 1) <= {{ sum_tolerance }}) as n_log,
    count(*) filter (where abs(ten_sum - 1) <= {{ sum_tolerance }}) as n_log10,
    count(*) filter (where abs(minus_sum - 1) <= {{ sum_tolerance }}) as n_minus_log,
    count(*) filter (where p_min >= -{{ range_tolerance }}) as n_positive,
    min(p_sum) as least_sum,
    max(p_sum) as most_sum,
    count(confidence) as n_confidence,
    count(*) filter (where confidence > 1 + {{ range_tolerance }}) as n_above,
    count(*) filter (where confidence < -{{ range_tolerance }}) as n_below,
    min(confidence)::double as least,
    max(confidence)::double as most,
from _rows;


-- name: read_output_example
-- The first row whose probs are not what they are said to be.
select
    row_name,
    probs,
    list_sum(probs)::double as total,
from {{ ident(relation) }}
where probs is not null
{% if expected in ('auto', 'sigmoid') %}
    and (
        list_min(probs) < -{{ range_tolerance }}
        or list_max(probs) > 1 + {{ range_tolerance }}
        {% if expected == 'auto' %}or abs(list_sum(probs)::double - 1) > {{ sum_tolerance }}{% endif %}

    )
{% elif expected == 'percent' %}
    and (list_min(probs) < -{{ range_tolerance }} or abs(list_sum(probs)::double - 100) > 100 * {{ sum_tolerance }})
{% elif expected == 'log_probs' %}
    and (
        list_max(probs) > {{ sum_tolerance }}
        or abs(list_sum(list_transform(probs, lambda p: exp(least(p, 1)::double))) - 1) > {{ sum_tolerance }}
    )
{% endif %}
order by position
limit 1;


-- name: read_confidence_example
-- The first row whose confidence is out of [0, 1].
select
    row_name,
    confidence::double as confidence,
from {{ ident(relation) }}
where confidence < -{{ range_tolerance }}
    or confidence > 1 + {{ range_tolerance }}
order by position
limit 1;


-- name: create_converted
-- Outputs and confidence, each from what it was, as probabilities: softmax and shares in double. pred without one is the class of the largest probability.
create or replace temp view _converted as
with _probabilities as (
    select
        position,
        row_name,
        pred as given_pred,
        confidence,
{% if outputs == 'logits' %}
        list_max(probs)::double as top,
        list_transform(probs, lambda p: exp(p::double - top)) as weights,
{% elif outputs == 'log_probs' %}
        list_transform(probs, lambda p: exp(p::double)) as weights,
{% else %}
        probs as weights,
{% endif %}
{% if outputs == 'percent' %}
        list_transform(weights, lambda w: w::double / 100) as shares,
        shares as probs,
        shares as unscaled,
{% elif outputs in ('logits', 'sigmoid', 'log_probs') %}
        list_sum(weights)::double as total,
        list_transform(weights, lambda w: w::double / total) as probs,
        {{ 'weights' if outputs == 'sigmoid' else 'probs' }} as unscaled,
{% else %}
        probs,
        probs as unscaled,
{% endif %}
    from _checked
)

select
    position,
    row_name,
    coalesce(given_pred, argmax(probs)) as pred,
{% if confidence == 'percent' %}
    confidence / 100 as confidence,
{% elif confidence == 'log_probs' %}
    exp(confidence) as confidence,
{% else %}
    confidence,
{% endif %}
    probs,
    unscaled,
from _probabilities;


-- name: read_confidence_facts
-- Rows whose confidence is not the probability of the prediction: how many, the first; and how often the prediction
-- is not the class of the largest probability.
with _rows as (
    select
        position,
        row_name,
        pred,
        confidence::double as confidence,
        _p_of(unscaled, pred)::double as probability,
        abs(confidence - probability) > {{ tolerance }} as differs,
        pred <> argmax(probs) and _p_of(probs, pred) < list_max(probs) as is_other,
    from {{ ident(relation) }}
)

select
    count(*) filter (where differs) as n,
    arg_min(row_name, position) filter (where differs) as row_name,
    arg_min(confidence, position) filter (where differs) as confidence,
    arg_min(probability, position) filter (where differs) as probability,
    arg_min(pred, position) filter (where differs) as pred,
    count(*) filter (where is_other) as n_other,
from _rows;


-- name: read_low_confidence
-- Rows without probs whose confidence is below what the most probable class has at least: how many of how many, the
-- first, and of which class all of them are, if it is one.
select
    count(*) filter (where confidence < {{ least }}) as n,
    count(confidence) as n_confidence,
    arg_min(row_name, position) filter (where confidence < {{ least }}) as row_name,
    arg_min(confidence, position) filter (where confidence < {{ least }})::double as confidence,
    arg_min(pred, position) filter (where confidence < {{ least }}) as pred,
    count(distinct pred) filter (where confidence < {{ least }}) as n_preds,
from {{ ident(relation) }}
where probs is null
    and pred >= 0;


-- name: count_imported
-- How many rows can be used, how many cannot, and how many of the former have a prediction.
select
    count(*) filter (where problem is null) as n_ok,
    count(*) filter (where problem is not null) as n_errors,
    count(*) filter (where problem is null and (class is not null or source_rows.probs is not null)) as n_predicted,
from _imported
inner join source_rows on _imported.position = source_rows.position;


-- name: count_steps
-- How rows found their image.
select
    step,
    count(*) as n,
from _imported
where image_id is not null
group by step;


-- name: read_import_problem
-- What is wrong with the first row that cannot be used.
select problem
from _imported
where problem is not null
order by position
limit 1;


-- name: insert_imported
-- Store the predictions that have an image and a class. The probability of the prediction is its confidence.
insert into outputs.{{ ident(run) }}
select
    _imported.image_id,
    _imported.sha256,
    _converted.pred,
    coalesce({% if is_rescaled %}_p_of(_converted.probs, _converted.pred), {% endif %}_converted.confidence, _p_of(_converted.probs, _converted.pred))::float as confidence,
{% if with_probs %}
    _converted.probs::float[{{ size }}] as probs,
{% endif %}
from _converted
inner join _imported on _converted.position = _imported.position
order by _imported.position;


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


-- name: drop_import_table
-- Drop what an import needed; a view before what it reads.
drop {{ 'view' if kind == 'view' else 'table' }} if exists {{ ident(name) }};
