-- Runs that lack images, or did not come to their end.
-- Grain: one row per run.
-- Parameters: none
-- Edges: a failed image is accounted for.
-- Source: this project
select run
from runs
where status <> 'finished'
    or n_images <> n_ok + n_errors
order by started_at, run;
