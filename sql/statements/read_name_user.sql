-- What already bears a name that a run would take.
-- Grain: one row per object of that name.
-- Parameters: name
-- Edges: keywords of SQL count; functions registered from Python do not.
-- Source: this project
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
