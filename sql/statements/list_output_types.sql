-- Columns of the outputs of a run, and their types.
-- Grain: one row per column.
-- Parameters: 1 run
-- Edges: none
-- Source: this project
select
    column_name,
    data_type,
from duckdb_columns()
where database_name = current_database()
    and schema_name = 'outputs'
    and table_name = ?;
