-- Columns of images and their types.
-- Grain: one row per column.
-- Parameters: none
-- Edges: none
-- Source: this project
select
    column_name,
    data_type,
from duckdb_columns()
where database_name = current_database()
    and schema_name = 'main'
    and table_name = 'images';
