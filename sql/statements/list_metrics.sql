-- The metrics of this file, with their parameters and what they measure.
-- Grain: one row per metric.
-- Parameters: none
-- Edges: none
-- Source: this project
select
    name,
    parameters,
    description,
from help
where kind = 'metric'
order by name;
