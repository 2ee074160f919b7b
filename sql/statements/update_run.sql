-- Write status and seconds of a run.
-- Grain: one row updated.
-- Parameters: 1 status, 2 seconds, 3 run
-- Edges: an imported run was asked for what it brought.
-- Source: this project
update runs
set
    status = ?,
    seconds = ?,
    n_images = greatest(n_images, n_ok + n_errors),
    finished_at = (current_timestamp at time zone 'UTC')
where run = ?;
