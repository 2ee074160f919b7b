-- Label space and source of one data set.
-- Grain: one row or none.
-- Parameters: 1 data set
-- Edges: none
-- Source: this project
select
    space,
    source,
from datasets
where dataset = ?;
