-- How many images a selection holds.
-- Grain: one row.
-- Parameters: where; dataset
-- Edges: none
-- Source: this project
select count(*) as n
from images
where images.dataset = $dataset
{% if where %}
    and ({{ where }})
{% endif %};
