-- Delete one clustering of a run from one table.
-- Grain: one row per row of it.
-- Parameters: table; 1 run, 2 clustering
-- Edges: none
-- Source: this project
delete from {{ ident(table) }}
where run = ?
    and clustering = ?;
