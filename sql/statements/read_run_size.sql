-- How many images a run was asked for, and what became of them.
-- Grain: one row.
-- Parameters: 1 run
-- Edges: none
-- Source: this project
select
    n_images,
    n_ok,
    n_errors,
from runs
where run = ?;
