-- Parts: outputs of a run in Parquet files that workers wrote, and the view over those that are committed.

-- name: create_waiting
-- One pending image of each content, numbered in the order of the run; what an answered image has in common was copied.
-- Where a file of a content could not be read, all others of this content.
create or replace temp table _waiting as
with _representatives as (
    select
        min(_pending.image_id) as image_id,
        min(_pending.rank) as rank,
    from _pending
    group by
        _pending.sha256,
        case
            when _pending.sha256 in (
                select failed.sha256 from errors as failed where failed.run = {{ literal(run) }} and failed.stage = 'read'
            ) then _pending.image_id
        end
)

select
    row_number() over (order by _representatives.rank, _representatives.image_id) as ordinal,
    images.image_id,
    images.sha256,
    images.n_bytes,
from _representatives
inner join images on _representatives.image_id = images.image_id;


-- name: count_waiting
-- How many images are to be computed.
select count(*) as n
from _waiting;


-- name: list_waiting
-- The next images to compute, with the size of their files: $1 the last ordinal, $2 how many.
select
    ordinal,
    n_bytes,
from _waiting
where ordinal > $1
    and ordinal <= $1 + $2
order by ordinal;


-- name: read_waiting
-- The images of one shard with what a worker reads: $1 the first and $2 the last ordinal.
select
    _waiting.image_id,
    _waiting.sha256,
    images.uri,
    image_files.image.bytes,
    case when image_files.image.bytes is null then image_files.image.path end as path,
from _waiting
inner join images on _waiting.image_id = images.image_id
inner join image_files on _waiting.image_id = image_files.image_id
where _waiting.ordinal between $1 and $2
order by _waiting.image_id;


-- name: count_pending_outputs
-- How many pending images have an output, which is of other bytes.
select count(*) as n
from outputs.{{ ident(run) }}
where image_id in (select _pending.image_id from _pending);


-- name: read_copies
-- Outputs for pending images from an image with the same bytes, as rows of a part.
with _by_bytes as (
    select
        sha256,
{% for name in names %}
        any_value({{ ident(name) }}) as {{ ident(name) }},
{% endfor %}
    from outputs.{{ ident(run) }}
    where sha256 in (select _pending.sha256 from _pending)
    group by sha256
)

select
    _pending.image_id,
    _pending.sha256,
{% for name in names %}
    _by_bytes.{{ ident(name) }},
{% endfor %}
from _pending
inner join _by_bytes on _pending.sha256 = _by_bytes.sha256
order by _pending.image_id;


-- name: read_run_start
-- When a run was begun; what was computed for an earlier run of its name is not taken for it.
select started_at
from runs
where run = ?;


-- name: has_part
-- Whether a run has taken this part: $1 run, $2 part.
select count(*) > 0 as is_taken
from parts
where run = $1
    and part = $2;


-- name: list_parts
-- Parts of a run that are files, oldest first: $1 run.
select
    part,
    uri,
    n,
    n_errors,
    n_bytes,
    sha256,
from parts
where run = $1
    and uri is not null
order by first_id, part;


-- name: list_part_runs
-- Runs whose outputs are parts, and the folder that the view of each reads from.
select
    runs.run,
    views.comment,
from runs
inner join duckdb_views() as views
    on runs.run = views.view_name
    and views.database_name = current_database()
    and views.schema_name = 'outputs'
where runs.storage = 'parts'
order by runs.run;


-- name: list_output_columns
-- What a model gives for each image of a run, with its types, in order; columns that were added later are no outputs.
select
    column_name,
    data_type,
from duckdb_columns()
where database_name = current_database()
    and schema_name = 'outputs'
    and table_name = ?
    and column_name in ('pred', 'confidence', 'probs', 'raw_pred', 'raw_confidence', 'inside', 'activation')
order by column_index;


-- name: create_live
-- The rows of a part that count (relation part_rows): of an image of the data set with these bytes, without an answer.
-- With has_outputs, the run may have answered some of them.
create or replace temp table _live as
select
    part_rows.image_id,
    part_rows.error is null as is_ok,
from part_rows
inner join images on part_rows.image_id = images.image_id and part_rows.sha256 = images.sha256
where images.dataset = {{ literal(dataset) }}
    and not exists (
        select errors.image_id
        from errors
        where errors.run = {{ literal(run) }}
            and errors.image_id = part_rows.image_id
            and errors.sha256 = part_rows.sha256
    )
{% if has_outputs %}
    and not exists (
        select done.image_id
        from outputs.{{ ident(run) }} as done
        where done.image_id = part_rows.image_id
            and done.sha256 = part_rows.sha256
            and done.image_id between {{ first_id }} and {{ last_id }}
    )
{% endif %};


-- name: count_live
-- Of the rows of a part that count: outputs, and errors.
select
    count(*) filter (where is_ok) as n_ok,
    count(*) filter (where not is_ok) as n_errors,
from _live;


-- name: overlaps_part
-- Whether a part of a run may hold some of the images from $2 to $3: $1 run.
select count(*) > 0 as overlaps
from parts
where run = $1
    and first_id <= $3
    and last_id >= $2;


-- name: read_live
-- The rows of a part that count and have outputs, as they stay in Parquet.
select
    part_rows.*,
from part_rows
semi join (select _live.image_id from _live where _live.is_ok) as live on part_rows.image_id = live.image_id
order by part_rows.image_id;


-- name: insert_part_rows
-- Store the outputs of a part (relation part_rows) in the file.
insert into outputs.{{ ident(run) }} (
    image_id,
    sha256{% for name in names %},
    {{ ident(name) }}{% endfor %}

)
select
    part_rows.image_id,
    part_rows.sha256,
{% for name in names %}
    part_rows.{{ ident(name) }},
{% endfor %}
from part_rows
semi join (select _live.image_id from _live where _live.is_ok) as live on part_rows.image_id = live.image_id
order by part_rows.image_id;


-- name: insert_part_errors
-- Store the errors of a part (relation part_rows).
insert into errors (run, dataset, image_id, uri, sha256, stage, error, message)
select
    {{ literal(run) }} as run,
    images.dataset,
    images.image_id,
    images.uri,
    images.sha256,
    part_rows.error.stage,
    part_rows.error.error,
    part_rows.error.message,
from part_rows
inner join images on part_rows.image_id = images.image_id
semi join (select _live.image_id from _live where not _live.is_ok) as live on part_rows.image_id = live.image_id
order by part_rows.image_id;


-- name: read_first_live_failure
-- The first error of a part (relation part_rows) that counts.
select
    part_rows.image_id,
    images.uri,
    part_rows.error.stage,
    part_rows.error.error,
    part_rows.error.message,
from part_rows
inner join images on part_rows.image_id = images.image_id
semi join (select _live.image_id from _live where not _live.is_ok) as live on part_rows.image_id = live.image_id
order by part_rows.image_id
limit 1;


-- name: insert_part
-- A part that is committed: run, part, uri, first_id, last_id, n, n_errors, n_bytes, sha256.
insert into parts (run, part, uri, first_id, last_id, n, n_errors, n_bytes, sha256)
values (?, ?, ?, ?, ?, ?, ?, ?, ?);


-- name: replace_part
-- A part without the rows that no longer count: uri, n, n_bytes and sha256 of run and part.
update parts
set
    uri = $1,
    n = $2,
    n_bytes = $3,
    sha256 = $4
where run = $5
    and part = $6;


-- name: move_part
-- A part lies elsewhere now: $1 uri, $2 run, $3 part.
update parts
set uri = $1
where run = $2
    and part = $3;


-- name: keep_parts
-- The parts of a run are in the file now.
update parts
set uri = null
where run = ?;


-- name: update_part_counts
-- Count the outputs of a run by its parts, and its errors.
update runs
set
    n_ok = (select coalesce(sum(parts.n), 0) from parts where parts.run = {{ literal(run) }}),
    n_errors = (select count(*) from errors where errors.run = {{ literal(run) }})
where run = {{ literal(run) }};


-- name: recreate_part_view
-- Outputs of a run whose rows lie in Parquet files: those that are committed, each with the types of a table.
-- The addresses are absolute: a plain shell reads them from any folder. With inline, only the query.
{% if not inline %}
create or replace view outputs.{{ ident(run) }} as
{% endif %}
select
    stored.image_id::bigint as image_id,
    stored.sha256::varchar as sha256,
{% for name, type in columns %}
    stored.{{ ident(name) }}::{{ type }} as {{ ident(name) }},
{% endfor %}
{% if is_clustered %}
    groups.cluster,
{% endif %}
{% if addresses %}
from read_parquet([{% for address in addresses %}{{ literal(address) }}{{ ', ' if not loop.last }}{% endfor %}], hive_partitioning = false) as stored
{% else %}
from (
    select
        null as image_id,
        null as sha256,
{% for name, type in columns %}
        null as {{ ident(name) }},
{% endfor %}
    where false
) as stored
{% endif %}
{% if is_clustered %}
left join (
    select clusters.image_id, clusters.cluster
    from clusters
    where clusters.run = {{ literal(run) }}
        and clusters.clustering = (
            select arg_max(specs.clustering, specs.created_at)
            from cluster_specs as specs
            where specs.run = {{ literal(run) }}
        )
) as groups on stored.image_id = groups.image_id
{% endif %};


-- name: is_clustered
-- Whether a run has a clustering.
select count(*) > 0 as is_clustered
from cluster_specs
where run = ?;


-- name: fill_local_clusters
-- Copy the newest clustering of a run to its table of outputs.
update outputs.{{ ident(run) }} as outputs
set cluster = (
    select clusters.cluster
    from clusters
    where clusters.run = {{ literal(run) }}
        and clusters.image_id = outputs.image_id
        and clusters.clustering = (
            select arg_max(specs.clustering, specs.created_at)
            from cluster_specs as specs
            where specs.run = {{ literal(run) }}
        )
);


-- name: comment_part_view
-- Remember the folder that the addresses of a view of parts were made for.
comment on view outputs.{{ ident(run) }} is {{ literal(folder) }};


-- name: create_local_outputs
-- All outputs of a run as a table of the file, which replaces the view over its parts.
create table outputs.{{ ident(name) }} (
    image_id bigint not null,
    sha256 varchar not null{% for name, type in columns %},
    {{ ident(name) }} {{ type }}
{% endfor %}
);


-- name: insert_local_outputs
-- Copy the outputs of a run in the order of its images.
insert into outputs.{{ ident(name) }}
select
    image_id,
    sha256,
{% for column in names %}
    {{ ident(column) }},
{% endfor %}
from outputs.{{ ident(run) }}
order by image_id;


-- name: rename_local_outputs
-- Give the table of outputs the name of its run.
alter table outputs.{{ ident(name) }} rename to {{ ident(run) }};


-- name: update_run_storage
-- Where the outputs of a run lie: $1 storage, $2 run.
update runs
set storage = $1
where run = $2;


-- name: list_pending_ids
-- Images without an answer for their present bytes.
select image_id
from _pending;


-- name: list_all_parts
-- Every part that is a file, with its run.
select
    run,
    part,
    uri,
    sha256,
from parts
where uri is not null
order by run, part;


-- name: list_committed_parts
-- Every part of every run.
select
    run,
    part,
from parts;


-- name: read_predictions_sql
-- The text of the view of all predictions.
select sql
from duckdb_views()
where database_name = current_database()
    and schema_name = 'main'
    and view_name = 'predictions';
