-- Bytes or path of the images that the page shows.
-- Grain: one row per image of the list $ids.
-- Parameters: none
-- Edges: bytes is NULL for images kept by reference.
-- Source: view image_files
select
    image_id,
    image,
from image_files
where image_id in (select unnest($ids));
