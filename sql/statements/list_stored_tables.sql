-- Every table of this file, with its schema.
-- Grain: one row per table.
-- Parameters: none
-- Edges: temporary tables are left out.
-- Source: duckdb_tables()
select
    schema_name,
    table_name,
from duckdb_tables()
where database_name = current_database()
    and not temporary
order by schema_name, table_name;
