-- The nearest neighbours of the images of one run: from near_duplicates('<run>_neighbours').
-- Grain: one row per image and rank.
-- Parameters: run
-- Edges: there once find_neighbours or project has found them.
-- Source: this project
create or replace view {{ ident(run ~ '_neighbours') }} as
select
    image_id,
    neighbor_id,
    rank,
    distance,
from neighbours
where run = {{ literal(run) }};
