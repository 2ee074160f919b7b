-- How many images of a selection a run has answered, and how many failed.
-- Grain: one row.
-- Parameters: run, where; dataset
-- Edges: none
-- Source: this project
with _selected as (
    select images.image_id
    from images
    where images.dataset = $dataset
{% if where %}
        and ({{ where }})
{% endif %}
)

select
    (select count(*) from _selected semi join outputs.{{ ident(run) }} as done on _selected.image_id = done.image_id) as n_ok,
    (
        select count(*)
        from _selected
        semi join (select errors.image_id from errors where errors.run = {{ literal(run) }}) as failed
            on _selected.image_id = failed.image_id
    ) as n_errors;
