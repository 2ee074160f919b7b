-- How many of the selected images a run has answered, and how many failed.
-- Grain: one row.
-- Parameters: run
-- Edges: none
-- Source: this project
select
    (
        select count(*)
        from _selected
        semi join outputs.{{ ident(run) }} as done on _selected.image_id = done.image_id
    ) as n_ok,
    (
        select count(*)
        from _selected
        semi join (select errors.image_id from errors where errors.run = {{ literal(run) }}) as failed
            on _selected.image_id = failed.image_id
    ) as n_errors;
