-- What a metric can be called on in this file: tables, runs and other views.
-- Grain: one row per relation.
-- Parameters: none
-- Edges: outside the schema main, the schema belongs to the name.
-- Source: this project
with _relations as (
    select
        schema_name,
        table_name as name,
        database_name,
        internal,
    from duckdb_tables()
    union all
    select
        schema_name,
        view_name as name,
        database_name,
        internal,
    from duckdb_views()
)

select if(schema_name = 'main', name, schema_name || '.' || name) as relation
from _relations
where not internal
    and database_name in (current_database(), 'temp')
order by relation;
