-- Names of the macros in the current database.
-- Grain: one row per macro.
-- Parameters: none
-- Edges: none
-- Source: this project
select
    function_name,
    function_type,
from duckdb_functions()
where database_name = current_database()
    and not internal
    and function_type in ('macro', 'table_macro');
