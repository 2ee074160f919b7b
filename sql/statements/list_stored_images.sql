-- Images with their hash, and their bytes where the file keeps them, in the order of image_id.
-- Grain: one row per image of the block.
-- Parameters: 1 the last image_id of the block before, 2 how many
-- Edges: bytes is NULL for images by reference.
-- Source: this project
select
    images.image_id,
    images.uri,
    images.sha256,
    image_bytes.bytes,
from images
left join image_bytes on images.image_id = image_bytes.image_id
where images.image_id > ?
order by images.image_id
limit ?;
