-- What went wrong in a run, by stage and kind.
-- Grain: one row per stage and error.
-- Parameters: run
-- Edges: no rows when nothing failed; messages stay in the table `errors`, for they may name private paths.
-- Source: this project
select
    stage,
    error,
    count(*) as n,
from errors
where run = {{ literal(run) }}
group by stage, error
order by n desc, stage, error;
