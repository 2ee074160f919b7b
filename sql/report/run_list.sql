-- Every run of this file with its state, newest first.
-- Grain: one row per run.
-- Parameters: none
-- Edges: a run that never finished sorts by when it started.
-- Source: this project
select
    run,
    status,
    dataset,
    model,
from runs
order by coalesce(finished_at, started_at) desc, started_at desc, run;
