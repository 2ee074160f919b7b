-- Whether the current database is one of ours.
-- Grain: one row.
-- Parameters: none
-- Edges: none
-- Source: this project
select count(*) > 0 as ours
from duckdb_tables()
where database_name = current_database()
    and table_name = 'schema_version';
