-- Classes of one label space.
-- Grain: one row per class, in order.
-- Parameters: 1 space
-- Edges: none
-- Source: this project
select
    class,
    name,
    extra ->> 'wnid' as wnid,
from classes
where space = ?
order by class;
