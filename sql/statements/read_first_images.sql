-- The first images of a selection, with the plain inputs of a function.
-- Grain: one row per image.
-- Parameters: where, inputs; dataset, n
-- Edges: none
-- Source: this project
select
    image_files.image,
    struct_pack({% for name in inputs %}{{ ident(name) }} := images.{{ ident(name) }}{{ ', ' if not loop.last }}{% else %}nothing := null{% endfor %}) as given,
from images
inner join image_files on images.image_id = image_files.image_id
where images.image_id in (
    select images.image_id
    from images
    where images.dataset = $dataset
{% if where %}
        and (
            {{ where }}
        )
{% endif %}
    order by images.image_id
    limit $n
)
order by images.image_id;
