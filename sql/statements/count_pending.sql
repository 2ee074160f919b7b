-- How many images are pending.
-- Grain: one row.
-- Parameters: none
-- Edges: none
-- Source: this project
select count(*) as n
from pending;
