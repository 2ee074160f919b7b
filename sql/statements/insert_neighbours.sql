-- Write the neighbours of the images of a run.
-- Grain: one row per row of the relation found_neighbours.
-- Parameters: 1 run, 2 space
-- Edges: none
-- Source: this project
insert into neighbours (run, space, image_id, neighbor_id, rank, distance)
select
    ? as run,
    ? as space,
    image_id,
    neighbor_id,
    rank,
    distance,
from found_neighbours;
