-- Whether the current database cannot be written.
-- Grain: one row.
-- Parameters: none
-- Edges: none
-- Source: this project
select readonly
from duckdb_databases()
where database_name = current_database();
