-- Count what a run has done so far.
-- Grain: one row updated.
-- Parameters: run
-- Edges: n_ok + n_errors reach n_images, the images asked for, when the run is finished.
-- Source: this project
update runs
set
    n_ok = (select count(*) from outputs.{{ ident(run) }}),
    n_errors = (select count(*) from errors where errors.run = {{ literal(run) }})
where run = {{ literal(run) }};
