-- The connection, the file behind it, and the catalogue of objects installed in it.

-- name: settings
-- Settings of every connection, beside those given at start: no progress bar.
set enable_progress_bar = false;


-- name: limit_memory
-- Half of the memory of this machine; a safe connection may use as much on its disk, so that it fills neither.
set memory_limit = '50%';


-- name: memory_limit
-- The memory that this instance may use.
select current_setting('memory_limit') as memory_limit;


-- name: lock_down
-- Settings of a safe connection: no other file, no network, no extension, and no way back.
-- Several statements (the only query that has them), sent last: nothing can be set afterwards. See "Securing DuckDB" in DuckDB's documentation.
set max_temp_directory_size = {{ literal(spill) }};
set allowed_directories = [];
set allowed_paths = [{% for path in allowed %}{{ literal(path) }}{{ ', ' if not loop.last }}{% endfor %}];
set allow_community_extensions = false;
set allow_persistent_secrets = false;
set enable_external_access = false;
set lock_configuration = true;


-- name: may_reach
-- Whether this connection may read other files and addresses; a safe one may not.
select current_setting('enable_external_access')::boolean as allowed;


-- name: spill
-- Where DuckDB writes what does not fit in memory: beside the file, as for a file that is opened directly.
set temp_directory = {{ literal(folder) }};


-- name: database_name
-- The name of the current database, which is the file without its ending.
select current_database() as name;


-- name: attach
-- Put the file in the place of the primary database, so that every cursor starts in it.
-- DuckDB 1.4 can read it, and several threads can scan its tables: hence version and row group size.
attach or replace {{ literal(path) }} as {{ ident(alias) }}
({% if read_only %}read_only{% else %}{% if new %}storage_version 'v1.4.0', {% endif %}row_group_size 16384{% endif %});


-- name: use
-- Make an attached database the current one.
use {{ ident(alias) }};


-- name: begin_read_only
-- Begin a transaction that cannot write; an insert or delete inside a WITH is refused too.
begin transaction read only;


-- name: read_only
-- Whether the current database cannot be written.
select readonly
from duckdb_databases()
where database_name = current_database();


-- name: read_path
-- The file of the current database; NULL for one in memory.
select path
from duckdb_databases()
where database_name = current_database();


-- name: has_version_table
-- Whether the current database was made by this package.
select count(*) > 0 as ours
from duckdb_tables()
where database_name = current_database()
    and table_name = 'schema_version';


-- name: count_objects
-- How many tables and views the current database holds; internal objects do not count.
select
    (select count(*) from duckdb_tables() where database_name = current_database() and not internal)
    + (select count(*) from duckdb_views() where database_name = current_database() and not internal) as n;


-- name: insert_version
-- Version of the schema, digest of the catalogue and version of the package that made this file.
insert into schema_version (version, catalogue, package)
values (?, ?, ?);


-- name: read_version
-- Version of the schema, digest of the installed views and macros, and version of the package that installed them.
select
    version,
    catalogue,
    left(package, 40) as package,
from schema_version;


-- name: update_catalogue
-- The digest of the views and macros that are installed now, and the version of the package that installed them.
update schema_version
set
    catalogue = ?,
    package = ?;


-- name: comment
-- The comment of an object, which the view help reads: topic, summary, signature and example.
comment on {{ kind }} {{ ident(name) }} is {{ literal(text) }};


-- name: checkpoint
-- Write what the log beside the file holds into the file.
checkpoint;


-- name: list_objects
-- Macros, views and tables of the current database: name, kind, definition as this DuckDB prints it, and whether the
-- comment is one of this package. A macro with several lists of parameters has them all in its definition.
select
    lower(function_name) as name,
    function_type as kind,
    string_agg(concat_ws(' ', parameters, macro_definition), '; ' order by len(parameters), macro_definition)
        as definition,
    bool_or(is_ours) as is_ours,
from (
    select *, coalesce(regexp_matches(comment, '^[a-z_ ]+: [^\n]*\n[^\n]*\n'), false) as is_ours
    from duckdb_functions()
    where database_name = current_database()
        and schema_name = 'main'
        and function_type in ('macro', 'table_macro')
) as _functions
group by all
union all
select
    lower(view_name) as name,
    'view' as kind,
    sql as definition,
    coalesce(regexp_matches(comment, '^[a-z_ ]+: [^\n]*\n[^\n]*\n'), false) as is_ours,
from duckdb_views()
where database_name = current_database()
    and schema_name = 'main'
    and not internal
union all
select
    lower(table_name) as name,
    'table' as kind,
    string_agg(column_name || ' ' || data_type, ', ' order by column_index) as definition,
    false as is_ours,
from duckdb_columns()
where database_name = current_database()
    and schema_name = 'main'
    and table_name in (select table_name from duckdb_tables() where database_name = current_database())
group by table_name;


-- name: list_shadowing
-- Macros of the current database that take the place of a function or operator of DuckDB.
select distinct function_name
from duckdb_functions()
where database_name = current_database()
    and function_type in ('macro', 'table_macro')
    and lower(function_name) in (
        select lower(builtin.function_name) from duckdb_functions() as builtin where builtin.internal
    )
order by function_name;


-- name: list_macros
-- Names and types of the macros in the current database.
select distinct
    function_name,
    function_type,
from duckdb_functions()
where database_name = current_database()
    and not internal
    and function_type in ('macro', 'table_macro');


-- name: drop_macro
-- Drop one macro.
drop macro {% if table %}table {% endif %}{{ ident(name) }};


-- name: list_columns
-- Columns of one relation: its schema, then its name.
select column_name
from duckdb_columns()
where database_name = current_database()
    and schema_name = ?
    and table_name = ?;


-- name: list_relations
-- Names of the tables and views of this file.
select table_name
from information_schema.tables
where table_catalog = current_database()
    and table_schema = 'main';


-- name: list_outputs
-- Names of the tables and views of outputs in this file.
select table_name
from information_schema.tables
where table_catalog = current_database()
    and table_schema = 'outputs';


-- name: list_stored_tables
-- Every table of this file with its schema; temporary tables are left out.
select
    schema_name,
    table_name,
from duckdb_tables()
where database_name = current_database()
    and not temporary
order by schema_name, table_name;


-- name: read_every_value
-- A number that depends on every value of a table, so that every block of it is read and its checksum verified.
-- NULL for an empty table.
select bit_xor(hash(stored)) as folded
from {{ ident(schema) }}.{{ ident(table) }} as stored;


-- name: read_name_user
-- What already has the name that a run would take: a table or view, a macro, or a keyword of SQL.
-- Functions that were registered from Python do not count.
select 'table or view' as kind
from information_schema.tables
where table_catalog = current_database()
    and table_schema = 'main'
    and lower(table_name) = $name
union all
select 'macro' as kind
from duckdb_functions()
where function_type in ('macro', 'table_macro')
    and lower(function_name) = $name
union all
select 'keyword of SQL' as kind
from duckdb_keywords()
where keyword_category = 'reserved'
    and keyword_name = $name
limit 1;


-- name: null_row
-- One row of NULLs of the given types, to learn their Arrow types.
select
{% for name, type in columns %}
    null::{{ type }} as {{ ident(name) }},
{% endfor %};


-- name: list_output_problems
-- Rows in the outputs of a run that no verb of this package writes, one row per kind of problem.
-- With source, outputs are those of a query in place of the table or view outputs.<run>.
with _outputs as (
    select
        done.image_id,
{% for name in ('pred', 'confidence') %}
        {{ 'done.' ~ name if name in names else 'null::double as ' ~ name }},
{% endfor %}
        {{ 'done.probs::float[]' if 'probs' in names else 'null::float[]' }} as probs,
        runs.label_space,
{% if source %}
    from (
{{ source }}
    ) as done
{% else %}
    from outputs.{{ ident(run) }} as done
{% endif %}
    cross join runs
    where runs.run = {{ literal(run) }}
)

select
    unnest([
        struct_pack(problem := 'image with several outputs', n := count(*) - count(distinct image_id)),
        struct_pack(
            problem := 'prediction that is no class',
            n := count(*) filter (
                where pred < -1 or pred >= (select count(*) from classes where classes.label_space = _outputs.label_space)
            )
        ),
        struct_pack(
            problem := 'confidence that is no probability',
            n := count(*) filter (where isnan(confidence) or confidence < -1e-6 or confidence > 1 + 1e-6)
        ),
        struct_pack(
            problem := 'probs that are no probabilities',
            n := count(*) filter (
                where isnan(list_sum(probs)) or list_min(probs) < -1e-6 or list_sum(probs) > 1 + 1e-2
            )
        )
    ], recursive := true),
from _outputs;


-- name: list_problems
-- Inconsistencies in this file, one row per kind of problem and object.
select
    problem,
    object,
    n,
from check_database
order by problem, object;


-- name: read_transaction
-- The number of the current transaction; each statement has its own, unless a transaction is open.
select current_transaction_id() as id;


-- name: try_condition
-- Nothing, if a condition over `images` can be evaluated on this connection.
select images.image_id
from images
where
    {{ where }}
order by images.image_id
limit 0;
