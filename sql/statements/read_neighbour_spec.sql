-- Of which activations the neighbours of a run are.
-- Grain: one row or none.
-- Parameters: 1 run
-- Edges: none
-- Source: this project
select
    k,
    digest,
from neighbour_specs
where run = ?;
