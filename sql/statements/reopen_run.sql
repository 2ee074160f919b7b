-- Go on with a run.
-- Grain: one row updated.
-- Parameters: 1 selection, 2 run
-- Edges: the start stays that of the first part.
-- Source: this project
update runs
set
    status = 'running',
    finished_at = null,
    selection = ?
where run = ?;
