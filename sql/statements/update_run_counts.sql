-- Count what a run has done so far.
-- Grain: one row updated.
-- Parameters: run
-- Edges: n_images = rows of its table + images with an error.
-- Source: this project
update runs
set
    n_errors = (select count(*) from errors where errors.run = {{ literal(run) }}),
    n_images = (select count(*) from outputs.{{ ident(run) }})
    + (select count(*) from errors where errors.run = {{ literal(run) }})
where run = {{ literal(run) }};
