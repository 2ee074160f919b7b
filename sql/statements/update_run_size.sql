-- Write how many images a run was asked for, in this call or before.
-- Grain: one row updated.
-- Parameters: run, where (of all calls); 1 data set
-- Edges: none
-- Source: this project
update runs
set n_images = (
    select count(*)
    from images
    where images.dataset = ?
        and (
            images.image_id in (select _selected.image_id from _selected)
            or images.image_id in (select done.image_id from outputs.{{ ident(run) }} as done)
            or images.image_id in (select errors.image_id from errors where errors.run = {{ literal(run) }})
            or (
                {{ where or 'true' }}
            )
        )
)
where run = {{ literal(run) }};
