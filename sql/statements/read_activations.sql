-- Activations of a run.
-- Grain: one row per image with one, in image order.
-- Parameters: run
-- Edges: none
-- Source: this project
select
    image_id,
    activation,
from outputs.{{ ident(run) }}
where activation is not null
order by image_id;
