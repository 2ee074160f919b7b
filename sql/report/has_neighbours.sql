-- How many images of a run have stored neighbours.
-- Grain: one row.
-- Parameters: run
-- Edges: 0 when project did not store them.
-- Source: table neighbours
select count(distinct image_id) as n
from neighbours
where run = {{ literal(run) }}
    and space = 'activation';
