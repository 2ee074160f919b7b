-- How many images there are, and how many have statistics.
-- Grain: one row.
-- Parameters: dataset (NULL means all)
-- Edges: none
-- Source: this project
select
    count(*) as n_images,
    count(brightness) as n_measured,
from images
where dataset = coalesce($dataset, dataset);
