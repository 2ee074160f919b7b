-- Columns of a relation.
-- Grain: one row per column.
-- Parameters: 1 schema, 2 relation
-- Edges: none
-- Source: this project
select column_name
from duckdb_columns()
where database_name = current_database()
    and schema_name = ?
    and table_name = ?;
