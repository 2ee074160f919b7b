-- Write status, seconds and speed of a run.
-- Grain: one row updated.
-- Parameters: 1 status, 2 seconds, 3 run
-- Edges: an imported run was asked for what it brought.
-- Source: this project
update runs
set
    status = $1,
    seconds = $2,
    images_per_second = (n_ok + n_errors) / nullif(($2::json ->> 'total')::double, 0),
    n_images = greatest(n_images, n_ok + n_errors),
    finished_at = (current_timestamp at time zone 'UTC')
where run = $3;
