-- The first selected images, with the plain inputs of a function.
-- Grain: one row per image.
-- Parameters: inputs; 1 how many
-- Edges: none
-- Source: this project
select
    image_files.image,
    struct_pack({% for name in inputs %}{{ ident(name) }} := images.{{ ident(name) }}{{ ', ' if not loop.last }}{% else %}nothing := null{% endfor %}) as given,
from images
inner join image_files on images.image_id = image_files.image_id
where images.image_id in (
    select _selected.image_id
    from _selected
    order by _selected.image_id
    limit ?
)
order by images.image_id;
