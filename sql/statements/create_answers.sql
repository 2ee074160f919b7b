-- Run the model over one block of images.
-- Grain: one row per image of the relation block_images.
-- Parameters: function, inputs (columns of images)
-- Edges: the function is called once per image.
-- Source: this project
create or replace temp table _answers as
select
    images.image_id,
    images.dataset,
    images.uri,
    images.sha256,
    {{ ident(function) }}(image_files.image{% if inputs %}, struct_pack(
        {% for name in inputs %}{{ ident(name) }} := images.{{ ident(name) }}{{ ', ' if not loop.last }}{% endfor %}

    ){% endif %}) as answer,
from image_files
inner join images on image_files.image_id = images.image_id
where images.image_id in (select block_images.image_id from block_images);
