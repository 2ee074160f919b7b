-- What is wrong with the first row of predictions that could not be used.
-- Grain: one row or none.
-- Parameters: none
-- Edges: none
-- Source: this project
select problem
from _imported
where problem is not null
order by problem
limit 1;
