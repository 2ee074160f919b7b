-- A run whose outputs are in this label space.
-- Grain: one row or none.
-- Parameters: 1 space
-- Edges: none
-- Source: this project
select run
from runs
where output_space = ?
limit 1;
