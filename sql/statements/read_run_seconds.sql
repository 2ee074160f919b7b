-- Seconds per stage of a run so far.
-- Grain: one row.
-- Parameters: 1 run
-- Edges: none
-- Source: this project
select seconds
from runs
where run = ?;
