-- What a run would find: how many images, how many still to do, how distinct, how labelled, how many unreadable.
-- Grain: one row.
-- Parameters: run, exists; dataset, space
-- Edges: pending images have neither an output nor an error of the run for their bytes.
-- Source: this project
with _pending as (
    select _selected.image_id
    from _selected
{% if exists %}
    anti join outputs.{{ ident(run) }} as done
        on _selected.image_id = done.image_id and _selected.sha256 = done.sha256
    anti join (select errors.image_id, errors.sha256 from errors where errors.run = {{ literal(run) }}) as failed
        on _selected.image_id = failed.image_id and _selected.sha256 = failed.sha256
{% endif %}
)

select
    (select count(*) from _selected) as n_images,
    (select count(*) from _pending) as n_pending,
    (select count(distinct _selected.sha256) from _selected) as n_distinct,
    (
        select count(images.label)
        from images
        semi join _selected on images.image_id = _selected.image_id
    ) as n_labelled,
    (select count(*) from classes where classes.space = $space) as n_classes,
    (select count(*) from errors where errors.run is null and errors.dataset = $dataset) as n_unreadable;
