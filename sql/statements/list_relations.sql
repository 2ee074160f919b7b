-- Names of the tables and views of this file.
-- Grain: one row per relation.
-- Parameters: none
-- Edges: none
-- Source: this project
select table_name
from information_schema.tables
where table_catalog = current_database()
    and table_schema = 'main';
