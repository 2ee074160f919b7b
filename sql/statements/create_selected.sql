-- The images that a condition selects, settled once for the whole of a run.
-- Grain: one row per image.
-- Parameters: where; dataset
-- Edges: a condition that changes from call to call is asked once.
-- Source: this project
create or replace temp table _selected as
select
    images.image_id,
    images.sha256,
    images.n_bytes,
from images
where images.dataset = $dataset
{% if where %}
    and (
        {{ where }}
    )
{% endif %};
