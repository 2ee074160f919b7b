-- Write the coordinates of a projection.
-- Grain: one row per row of the relation projected.
-- Parameters: 1 run, 2 projection
-- Edges: none
-- Source: this project
insert into projections (run, projection, image_id, x, y)
select
    ? as run,
    ? as projection,
    image_id,
    x,
    y,
from projected;
