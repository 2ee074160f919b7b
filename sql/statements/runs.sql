-- Runs: their rows, output tables, views, class maps, derived outputs and counts.

-- name: insert_run
-- A new run, before its first block; the values are the columns of read_run, status is running.
insert into runs (
    run, dataset, model, weights, weights_sha256, model_label_space, label_space, class_policy, layer, transform,
    dtype, device, batch_size, packages, selection, dtype_agreement, trusted_pickle, members,
    outputs, prompts, probe, version, weights_key, transform_source, classes_source, workers, sample, storage,
    status
)
values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'running');


-- name: read_run
-- What made a run.
select
    run,
    dataset,
    model,
    weights,
    weights_sha256,
    model_label_space,
    label_space,
    class_policy,
    layer,
    transform,
    dtype,
    device,
    batch_size,
    packages,
    selection,
    dtype_agreement,
    trusted_pickle,
    members,
    outputs,
    prompts,
    probe,
    version,
    weights_key,
    transform_source,
    classes_source,
    workers,
    sample,
    storage,
from runs
where run = ?;


-- name: list_runs
-- Names of all runs, oldest first.
select run
from runs
order by started_at, run;


-- name: list_runs_with_members
-- All runs, and the members of derived ones, whose outputs are a view.
select
    run,
    members,
from runs
order by run;


-- name: list_run_objects
-- The tables and views that have the name of a run, ours or not: run, schema and kind; a run without any has NULL.
select
    runs.run,
    objects.schema_name,
    objects.kind,
from runs
left join (
    select schema_name, table_name as name, 'table' as kind
    from duckdb_tables()
    where database_name = current_database()
    union all
    select schema_name, view_name as name, 'view' as kind
    from duckdb_views()
    where database_name = current_database()
) as objects on runs.run = objects.name and objects.schema_name in ('main', 'outputs')
order by runs.run;


-- name: list_ownerless_outputs
-- Tables of outputs of which no run is known.
select table_name
from duckdb_tables()
where database_name = current_database()
    and schema_name = 'outputs'
    and table_name not in (select runs.run from runs)
order by table_name;


-- name: list_incomplete_runs
-- Runs that lack images or did not finish; an image that failed is accounted for, and a sample is meant to be one.
select run
from runs
where status <> 'sampled'
    and (status <> 'finished' or n_images <> n_ok + n_errors)
order by started_at, run;


-- name: list_output_tables
-- Tables of outputs, which have the names of their runs.
select table_name
from duckdb_tables()
where database_name = current_database()
    and schema_name = 'outputs'
    and regexp_full_match(table_name, '[a-z][a-z0-9_]*')
order by table_name;


-- name: list_predicting_runs
-- Runs that have predictions with a confidence, oldest first, and whether they have probs; other results are left out.
select
    runs.run,
    bool_or(columns.column_name = 'probs') as has_probs,
from runs
inner join duckdb_columns() as columns
    on runs.run = columns.table_name
    and columns.database_name = current_database()
    and columns.schema_name = 'outputs'
    and columns.column_name in ('pred', 'confidence', 'probs')
inner join duckdb_views() as views
    on runs.run = views.view_name
    and views.database_name = current_database()
    and views.schema_name = 'main'
group by runs.run, runs.started_at
having count(*) filter (where columns.column_name <> 'probs') = 2
order by runs.started_at, runs.run;


-- name: read_newest_run
-- The newest finished run with predictions, other than $baseline (may be NULL).
select runs.run
from runs
inner join duckdb_columns() as columns
    on runs.run = columns.table_name
    and columns.database_name = current_database()
    and columns.schema_name = 'outputs'
    and columns.column_name in ('pred', 'confidence')
where runs.status = 'finished'
    and runs.run is distinct from $baseline
group by runs.run, runs.finished_at, runs.started_at
having count(*) = 2
order by coalesce(runs.finished_at, runs.started_at) desc, runs.started_at desc, runs.run
limit 1;


-- name: list_dependents
-- Runs that are derived directly from this one, oldest first.
select run
from runs
where list_contains(members ->> '$[*].run', ?)
order by started_at, run;


-- name: list_model_weights
-- Weights that each model was last run with, the label space of its outputs, what these are, and its prompts.
select
    model,
    weights,
    model_label_space,
    outputs,
    prompts,
from runs
qualify row_number() over (partition by model order by started_at desc, run) = 1;


-- name: reopen_run
-- Resume a run; started_at stays that of the first call: $1 selection, $2 sample, $3 run.
update runs
set
    status = 'running',
    finished_at = null,
    selection = $1,
    sample = $2
where run = $3;


-- name: read_run_status
-- Whether a run is finished.
select status
from runs
where run = ?;


-- name: update_run_workers
-- How many threads ran the module: $1 workers, $2 run.
update runs
set workers = $1
where run = $2;


-- name: update_run_sample
-- How far a rule is settled by the images drawn so far, as JSON: $1 sample, $2 run.
update runs
set sample = $1
where run = $2;


-- name: update_run
-- Status, seconds and speed of a run: $1 status, $2 seconds, $3 run.
-- An imported run was asked for what it brought, so n_images is at least n_ok + n_errors.
update runs
set
    status = $1,
    seconds = $2,
    total_seconds = ($2::json ->> 'total')::double,
    images_per_second = (n_ok + n_errors) / nullif(($2::json ->> 'total')::double, 0),
    n_images = greatest(n_images, n_ok + n_errors),
    finished_at = (current_timestamp at time zone 'UTC')
where run = $3;


-- name: update_run_counts
-- Count the outputs and errors of a run; together they reach n_images when it is finished.
update runs
set
    n_ok = (select count(*) from outputs.{{ ident(run) }}),
    n_errors = (select count(*) from errors where errors.run = {{ literal(run) }})
where run = {{ literal(run) }};


-- name: update_run_size
-- How many images a run was asked for, in this call or an earlier one (where: the condition of all calls).
update runs
set n_images = (
    select count(*)
    from images
    where images.dataset = ?
        and (
            images.image_id in (select _selected.image_id from _selected)
            or images.image_id in (select done.image_id from outputs.{{ ident(run) }} as done)
            or images.image_id in (select errors.image_id from errors where errors.run = {{ literal(run) }})
            or (
                {{ where or 'true' }}
            )
        )
)
where run = {{ literal(run) }};


-- name: update_run_total
-- The size of a derived run: every image has an output, or an error where a member has none.
update runs
set n_images = n_ok + n_errors
where run = ?;


-- name: read_run_seconds
-- Seconds per stage of a run so far.
select seconds
from runs
where run = ?;


-- name: read_run_size
-- How many images a run was asked for, how many have an output and how many failed.
select
    n_images,
    n_ok,
    n_errors,
from runs
where run = ?;


-- name: create_outputs
-- The output table of a run; arrays have a fixed width, so that another width is refused by its type.
create table outputs.{{ ident(run) }} (
    image_id bigint not null,
    sha256 varchar not null{% for name, type in columns %},
    {{ ident(name) }} {{ type }}
{% endfor %}
);


-- name: drop_outputs
-- Drop the output table of a run.
drop table if exists outputs.{{ ident(run) }};


-- name: list_output_types
-- Columns of the outputs of a run, and their types.
select
    column_name,
    data_type,
from duckdb_columns()
where database_name = current_database()
    and schema_name = 'outputs'
    and table_name = ?;


-- name: list_run_ids
-- The images of a run in the order of its rows.
select image_id
from outputs.{{ ident(run) }}
where image_id in (select shown.image_id from {{ ident(run) }} as shown)
order by rowid;


-- name: read_wrong_value
-- The first given value whose image is not in the run, or has two.
select
    given_values.image_id,
    case when count(done.image_id) = 0 then 'is not in the run' else 'comes ' || count(*) || ' times' end as problem,
from given_values
left join outputs.{{ ident(run) }} as done on given_values.image_id = done.image_id
group by given_values.image_id
having count(*) <> 1
    or count(done.image_id) <> 1
order by given_values.image_id
limit 1;


-- name: create_column
-- A column for one value of each image of a run.
alter table outputs.{{ ident(run) }}
add column {{ ident(name) }} {{ type }};


-- name: drop_column
-- Drop a column of a run before it is added again.
alter table outputs.{{ ident(run) }}
drop column {{ ident(name) }};


-- name: fill_column
-- Write the values that are given; how many.
update outputs.{{ ident(run) }}
set {{ ident(name) }} = given_values.value
from given_values
where {{ ident(run) }}.image_id = given_values.image_id
    and given_values.value is not null;


-- name: delete_run_rows
-- Delete the rows of a run from one table.
delete from {{ ident(table) }}
where run = ?;


-- name: recreate_run_view
-- One run as one relation: images, labels, outputs, correct, coordinates.
-- With source, outputs are those of a query in place of the table or view outputs.<run>.
-- label is NULL in another label space; outputs for bytes that have changed since are left out.
-- correct_accepted also counts the other right answers of an image (accepted); an empty list is NULL.
-- A run of embeddings alone has the columns of predictions, which are NULL.
{% set known = ['image_id', 'sha256', 'pred', 'confidence', 'probs', 'raw_pred', 'raw_confidence', 'inside', 'activation', 'cluster'] %}
create or replace view {{ ident(run) }} as
select
    images.image_id,
    images.dataset,
    images.uri,
    images.split,
    labels.class as label,
    labels.name as label_name,
{% if 'pred' in names %}
    outputs.pred,
    preds.name as pred_name,
{% elif 'activation' in names %}
    null::integer as pred,
    null::varchar as pred_name,
{% endif %}
{% if 'confidence' in names %}
    outputs.confidence,
{% elif 'activation' in names and 'pred' not in names %}
    null::float as confidence,
{% endif %}
{% if 'pred' in names %}
    _correct(labels.class, outputs.pred) as correct,
    case
        when images.accepted is null then _correct(labels.class, outputs.pred)
        when runs.label_space = datasets.label_space and images.accepted <> []
            then outputs.pred >= 0 and outputs.pred in images.accepted
    end as correct_accepted,
{% elif 'activation' in names %}
    null::boolean as correct,
    null::boolean as correct_accepted,
{% endif %}
{% if 'probs' in names %}
    outputs.probs,
{% endif %}
{% if 'raw_pred' in names %}
    outputs.raw_pred,
    raw_preds.name as raw_pred_name,
    outputs.raw_confidence,
    outputs.inside,
{% endif %}
{% if 'activation' in names %}
    outputs.activation,
{% endif %}
{% for name in names if name not in known %}
    outputs.{{ ident(name) }},
{% endfor %}
    points.x,
    points.y,
    {{ 'outputs.cluster' if 'cluster' in names else 'null::integer as cluster' }},
{% if 'folder' not in names %}
    parse_dirpath(images.uri, 'both_slash') as folder,
{% endif %}
{% if 'file' not in names %}
    parse_filename(images.uri, false, 'both_slash') as file,
{% endif %}
    images.sha256,
    images.n_bytes,
    images.format,
    images.width_px,
    images.height_px,
    images.width_px / nullif(images.height_px, 0) as aspect,
    images.brightness,
    images.contrast,
    images.sharpness,
    images.colorfulness,
    images.entropy,
    case when runs.label_space = datasets.label_space then images.accepted end as accepted,
    images.meta,
{% if source %}
from (
{{ source }}
) as outputs
{% else %}
from outputs.{{ ident(run) }} as outputs
{% endif %}
inner join images on outputs.image_id = images.image_id and outputs.sha256 = images.sha256
inner join runs on runs.run = {{ literal(run) }}
inner join datasets on images.dataset = datasets.dataset
left join classes as labels
    on datasets.label_space = labels.label_space
    and runs.label_space = labels.label_space
    and images.label = labels.class
{% if 'pred' in names %}
-- Each join reads classes in its own way. DuckDB 2.0 takes equal scans for one (optimizer common_subplan) where a query
-- reads this view twice, and gave the prediction for the label.
left join (select classes.label_space, classes.class, classes.name from classes where classes.class >= 0) as preds
    on runs.label_space = preds.label_space
    and outputs.pred = preds.class
{% endif %}
{% if 'raw_pred' in names %}
left join (select classes.label_space, classes.class, classes.name from classes where classes.class > -1) as raw_preds
    on runs.model_label_space = raw_preds.label_space
    and outputs.raw_pred = raw_preds.class
{% endif %}
left join (
    select projections.image_id, projections.x, projections.y
    from projections
    semi join (
        select arg_max(specs.projection, specs.created_at) as projection
        from projection_specs as specs where specs.run = {{ literal(run) }}
    ) as newest on projections.projection = newest.projection
    where projections.run = {{ literal(run) }}
) as points on outputs.image_id = points.image_id;


-- name: drop_run_view
-- Drop the view of a run.
drop view if exists {{ ident(run) }};


-- name: recreate_predictions
-- Predictions of all runs in one relation, for example from accuracy('predictions') or leaderboard('predictions').
-- No rows while there is no run; probs is NULL for a run without them.
create or replace view predictions as
{% for run in runs %}
select
    {{ literal(run) }} as run,
    image_id,
    uri,
    split,
    label,
    label_name,
    pred,
    pred_name,
    confidence,
    correct,
    {{ 'probs::float[] as probs' if run in runs_with_probs else 'null::float[] as probs' }},
from {{ ident(run) }}
{% if not loop.last %}
union all
{% endif %}
{% else %}
select
    null::varchar as run,
    null::bigint as image_id,
    null::varchar as uri,
    null::varchar as split,
    null::integer as label,
    null::varchar as label_name,
    null::integer as pred,
    null::varchar as pred_name,
    null::float as confidence,
    null::boolean as correct,
    null::float[] as probs,
where false
{% endfor %};


-- name: recreate_disk_usage
-- How much of the file each table takes, by run; a table of all runs is divided by the rows of each, what is shared has run NULL.
-- Outputs in parts are beside the file.
-- Blocks that hold parts of several small tables count for each of them; what is not yet in the file (the log) counts 0.
-- A macro and not a view: DuckDB would read the storage of every table whenever it lists the columns of views.
create or replace macro disk_usage() as table
with _segments as (
{% for run in runs %}
    select {{ literal(run) }} as run, {{ literal('outputs.' ~ run) }} as table_name, block_id, additional_block_ids, persistent
    from pragma_storage_info({{ literal('outputs.' ~ ident(run)) }})
    union all
{% endfor %}
{% for table in tables %}
    select null as run, {{ literal(table) }} as table_name, block_id, additional_block_ids, persistent
    from pragma_storage_info({{ literal(table) }})
{% if not loop.last %}
    union all
{% endif %}
{% endfor %}
),

_blocks as (
    select
        run,
        table_name,
        unnest(list_append(additional_block_ids, block_id)) as block,
    from _segments
    where persistent
),

_tables as (
    select
        run,
        table_name,
        count(distinct block) filter (where block >= 0) * (select any_value(block_size) from pragma_database_size()) as bytes,
    from _blocks
    group by run, table_name
    union all
    select
        run,
        'outputs.' || run || ' (parts)' as table_name,
        sum(n_bytes) as bytes,
    from parts
    where uri is not null
    group by run
),

_rows as (
    select
        run,
        'outputs.' || run || ' (parts)' as table_name,
        sum(n)::bigint as n_rows,
    from parts
    where uri is not null
    group by run
    union all
{% for run in runs %}
    select {{ literal(run) }} as run, {{ literal('outputs.' ~ run) }} as table_name, count(*) as n_rows
    from outputs.{{ ident(run) }}
    union all
{% endfor %}
{% for table, by_run in tables.items() %}
    select {{ 'run' if by_run else 'null as run' }}, {{ literal(table) }} as table_name, count(*) as n_rows
    from {{ ident(table) }}
{% if by_run %}
    group by run
{% endif %}
{% if not loop.last %}
    union all
{% endif %}
{% endfor %}
)

select
    _rows.run,
    _rows.table_name,
    _rows.n_rows,
    case
        when _tables.run is not null or _rows.run is null then coalesce(_tables.bytes, 0)
        else round(
            coalesce(_tables.bytes, 0) * _rows.n_rows / sum(_rows.n_rows) over (partition by _rows.table_name)
        )
    end::bigint as bytes,
from _rows
left join _tables
    on _rows.table_name = _tables.table_name
    and (_rows.run = _tables.run or _tables.run is null)
order by bytes desc, _rows.table_name, _rows.run;


-- name: insert_class_map
-- The outputs of a mapped run and the classes they count as; an output outside the data set has no row.
insert into class_map (run, from_class, to_class)
select
    ? as run,
    unnest(?::integer []) as from_class,
    unnest(?::integer []) as to_class;


-- name: read_class_map
-- Which outputs of a run count as which class.
select
    from_class,
    to_class,
from class_map
where run = ?
order by from_class;


-- name: create_derived
-- Outputs of a derived run: the weighted mean of its members' probabilities, each at its temperature.
-- Weights sum to 1, ties go to the lower class; pred and further columns of a single member are kept.
-- softmax(ln p / temperature) of Guo et al. (2017), ICML, in plain SQL, so that any client can read it.
{% set single = members | length == 1 %}
{% set own = columns | map(attribute=0) | reject('in', ['pred', 'confidence', 'probs']) | list if single else [] %}
create view outputs.{{ ident(run) }} as
with
{% for member in members %}
_member_{{ loop.index }} as (
    select
        *,
{% if member.temperature == 1 %}
        probs as powers,
        1e0 as total,
    from outputs.{{ ident(member.run) }}
    where probs is not null
{% else %}
        list_sum(powers) as total,
    from (
        select
            *,
            list_transform(
                probs, lambda _p: exp((ln(greatest(_p, 1.1754944e-38)) - top) / {{ member.temperature }}::double)
            ) as powers,
        from (
            select
                *,
                ln(greatest(list_max(probs), 1.1754944e-38)) as top,
            from outputs.{{ ident(member.run) }}
            where probs is not null
        ) as tops
    ) as softened
{% endif %}
),

{% endfor %}
_joined as (
    select
        _member_1.*,
        list_zip({% for _ in members %}_member_{{ loop.index }}.powers{{ ', ' if not loop.last }}{% endfor %}) as powers_of_all,
{% for member in members %}
        {{ member.weight }}::double / _member_{{ loop.index }}.total as share_{{ loop.index }},
{% endfor %}
    from _member_1
{% for _ in members[1:] %}
    inner join _member_{{ loop.index + 1 }}
        on _member_1.image_id = _member_{{ loop.index + 1 }}.image_id
        and _member_1.sha256 = _member_{{ loop.index + 1 }}.sha256
{% endfor %}
),

_means as (
    select
        * replace (list_transform(
            powers_of_all, lambda _p: {% for _ in members %}_p[{{ loop.index }}] * share_{{ loop.index }}{{ ' + ' if not loop.last }}{% endfor %}

        )::{{ dict(columns).probs }} as probs),
    from _joined
)

select
    image_id,
    sha256,
    {{ 'pred' if single else 'list_position(probs, list_max(probs)) - 1' }}::integer as pred,
    {{ 'coalesce(_p_of(probs, pred), confidence)' if single else 'list_max(probs)' }}::float as confidence,
    probs,
{% for name in own %}
    {{ ident(name) }},
{% endfor %}
from _means;


-- name: drop_derived
-- Drop the outputs of a derived run.
drop view if exists outputs.{{ ident(run) }};


-- name: insert_member_errors
-- An error for each image that a member of a derived run was asked for and another member has no output for.
-- An output for bytes that have changed since does not count.
insert into errors (run, dataset, image_id, uri, sha256, stage, error, message)
with _answers as (
{% for member in members %}
    select
        image_id,
        sha256,
        {{ literal(member.run) }} as member,
    from outputs.{{ ident(member.run) }}
    where probs is not null
{% if not loop.last %}
    union all
{% endif %}
{% endfor %}
),

_asked as (
    select image_id
    from _answers
    union
    select errors.image_id
    from errors
    where errors.run in ({% for member in members %}{{ literal(member.run) }}{{ ', ' if not loop.last }}{% endfor %})
),

_answered as (
    select
        image_id,
        sha256,
        list(member) as members,
    from _answers
    group by image_id, sha256
)

select
    {{ literal(run) }} as run,
    images.dataset,
    images.image_id,
    images.uri,
    images.sha256,
    'forward' as stage,
    'MissingMember' as error,
    'no answer of ' || array_to_string(list_filter(
        [{% for member in members %}{{ literal(member.run) }}{{ ', ' if not loop.last }}{% endfor %}],
        lambda _member: not coalesce(list_contains(_answered.members, _member), false)
    ), ', ') as message,
from images
inner join _asked on images.image_id = _asked.image_id
anti join outputs.{{ ident(run) }} as done on images.image_id = done.image_id
left join _answered on images.image_id = _answered.image_id and images.sha256 = _answered.sha256;


-- name: check_temperature
-- How many rows of a run have probabilities at a temperature; an error where it makes zeros matter.
select count(*) as n
from with_temperature(?, ?);


-- name: read_temperature
-- Fit a temperature on the images of a run that a condition selects.
with _fitted as ( -- noqa: ST03
    select *
    from {{ ident(run) }}
    where (
        {{ where or 'true' }}
    )
)

select
    n,
    temperature,
from fit_temperature('_fitted');
