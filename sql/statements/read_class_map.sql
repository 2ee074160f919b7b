-- Which outputs of a run count as which class.
-- Grain: one row per mapped output.
-- Parameters: 1 run
-- Edges: none
-- Source: this project
select
    from_class,
    to_class,
from class_map
where run = ?
order by from_class;
