-- Delete what one table holds of a run.
-- Grain: one row per row of that run.
-- Parameters: table; 1 run
-- Edges: none
-- Source: this project
delete from {{ ident(table) }}
where run = ?;
