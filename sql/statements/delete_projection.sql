-- Delete one projection of a run from one table.
-- Grain: one row per row of it.
-- Parameters: table; 1 run, 2 projection
-- Edges: none
-- Source: this project
delete from {{ ident(table) }}
where run = ?
    and projection = ?;
