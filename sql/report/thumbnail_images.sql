-- Bytes or path of images to make small: one stretch of the file, so that reading many stretches reads it once.
-- Grain: one row per image of the list $ids, all of which lie between $low and $high.
-- Parameters: none
-- Edges: bytes is NULL for images kept by reference.
-- Source: tables images and image_bytes
with _images as (
    select
        image_id,
        uri,
    from images
    where image_id between $low and $high
        and image_id in (select unnest($ids))
),

_bytes as (
    select
        image_id,
        bytes,
    from image_bytes
    where image_id between $low and $high
        and image_id in (select unnest($ids))
)

select
    _images.image_id,
    struct_pack(bytes := _bytes.bytes, path := _images.uri) as image,
from _images
left join _bytes on _images.image_id = _bytes.image_id;
