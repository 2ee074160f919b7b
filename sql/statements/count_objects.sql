-- How many tables and views the current database holds.
-- Grain: one row.
-- Parameters: none
-- Edges: internal objects do not count.
-- Source: this project
select
    (select count(*) from duckdb_tables() where database_name = current_database() and not internal)
    + (select count(*) from duckdb_views() where database_name = current_database() and not internal) as n;
