-- Runs that are made of this one.
-- Grain: one row per run, oldest first.
-- Parameters: 1 run
-- Edges: only direct ones.
-- Source: this project
select run
from runs
where list_contains(members ->> '$[*].run', ?)
order by started_at, run;
