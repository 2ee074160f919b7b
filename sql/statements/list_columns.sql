-- Columns of a relation of the main schema.
-- Grain: one row per column.
-- Parameters: 1 relation
-- Edges: none
-- Source: this project
select column_name
from duckdb_columns()
where database_name = current_database()
    and schema_name = 'main'
    and table_name = ?;
