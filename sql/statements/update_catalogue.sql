-- Write down which views and macros are installed now.
-- Grain: one row updated.
-- Parameters: 1 catalogue digest
-- Edges: none
-- Source: this project
update schema_version
set catalogue = ?;
