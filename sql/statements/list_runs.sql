-- Names of all runs.
-- Grain: one row per run, oldest first.
-- Parameters: none
-- Edges: none
-- Source: this project
select run
from runs
order by started_at, run;
