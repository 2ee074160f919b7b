-- Activations of a run.
-- Grain: one row per image, in image order.
-- Parameters: run
-- Edges: activation may be NULL
-- Source: this project
select
    image_id,
    activation,
from outputs.{{ ident(run) }}
order by image_id;
