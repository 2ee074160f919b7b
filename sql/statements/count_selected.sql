-- How many images are selected.
-- Grain: one row.
-- Parameters: none
-- Edges: none
-- Source: this project
select count(*) as n
from _selected;
