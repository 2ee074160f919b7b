-- Every metric, function, table and view of this file, with signature and example; what a newcomer needs comes first.
-- Grain: one row per object.
-- Parameters: none
-- Edges: own macros, tables and views have topic 'yours'; names that start with _ and tables of outputs are left out.
-- Source: duckdb_functions(), duckdb_views(), duckdb_tables(); comments of the form topic: summary, signature, example
create or replace view help as
with _objects as (
    select
        database_name, schema_name, function_name as name, comment, parameters,
        case function_type when 'table_macro' then 'metric' else 'function' end as kind,
    from duckdb_functions()
    where not internal
    union all
    select database_name, schema_name, view_name as name, comment, null as parameters, 'view' as kind,
    from duckdb_views()
    where not internal
    union all
    select database_name, schema_name, table_name as name, comment, null as parameters, 'table' as kind,
    from duckdb_tables()
    where not internal
),

-- A comment of the package has three lines; any other comment is a user's.
_parts as (
    select
        concat_ws('.', nullif(schema_name, 'main'), name) as name,
        case when starts_with(comment, 'views: ') then 'view' else kind end as kind,
        parameters,
        comment,
        regexp_extract(
            comment, '^([a-z_ ]+): ([^\n]*)\n([^\n]*)\n([\s\S]*)$', ['topic', 'summary', 'call', 'example']
        ) as part,
    from _objects
    where database_name = current_database()
        and schema_name <> 'outputs'
        and not starts_with(name, '_')
),

_listed as (
    select
        coalesce(part.topic, '') = '' as is_own,
        case when is_own then 'yours' else part.topic end as topic,
        name,
        kind,
        case
            when not is_own then nullif(part.call, '')
            when parameters is not null then format('{}({})', name, array_to_string(parameters, ', '))
        end as signature,
        case when is_own then comment else part.summary end as description,
        case when not is_own then nullif(part.example, '') end as example,
        not is_own and topic = 'runs' and kind = 'view' as is_run,
        case when not is_own and not is_run then list_position([
            'help', 'runs', 'images', 'errors', 'accuracy', 'accuracy_by', 'scores', 'per_class', 'top_confusions',
            'worst_mistakes', 'calibration_error', 'verdict', 'worst_slices', 'label_issues', 'check_run'
        ], name) end as start,
        list_position([
            'accuracy', 'classes', 'probabilities', 'calibration', 'selection', 'comparison', 'slices', 'labels',
            'embeddings', 'drift', 'statistics', 'yours'
        ], topic) as chapter,
    from _parts
)

select topic, name, kind, signature, description, example,
from _listed
order by start nulls last, is_run desc, chapter nulls last, topic, name, kind;
