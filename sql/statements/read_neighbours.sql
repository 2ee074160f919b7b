-- The nearest neighbours of the images of a run.
-- Grain: one row per image and rank up to k, in order of both.
-- Parameters: 1 run, 2 k
-- Edges: none
-- Source: this project
select
    neighbor_id,
    distance,
from neighbours
where run = ?
    and rank <= ?
order by image_id, rank;
