-- Names and label spaces of all data sets.
-- Grain: one row per data set.
-- Parameters: none
-- Edges: none
-- Source: this project
select
    dataset,
    space,
from datasets
order by created_at, dataset;
