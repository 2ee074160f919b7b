-- Write status, counts and seconds of a run.
-- Grain: one row updated.
-- Parameters: run; 1 status, 2 seconds, 3 run
-- Edges: n_images = rows of its table + images with an error.
-- Source: this project
update runs
set
    status = ?,
    seconds = ?,
    finished_at = (current_timestamp at time zone 'UTC'),
    n_errors = (select count(*) from errors where errors.run = {{ literal(run) }}),
    n_images = (select count(*) from outputs.{{ ident(run) }})
    + (select count(*) from errors where errors.run = {{ literal(run) }})
where run = ?;
