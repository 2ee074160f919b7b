-- Images as STRUCT(bytes, path), ready for `resnet18(image)`.
-- Grain: one row per image.
-- Parameters: none
-- Edges: bytes is NULL for images kept by reference; then the function reads path.
-- Source: the layout of Hugging Face Parquet files
create or replace view image_files as
select
    images.image_id,
    images.dataset,
    images.split,
    images.label,
    struct_pack(bytes := image_bytes.bytes, path := images.uri) as image,
from images
left join image_bytes on images.image_id = image_bytes.image_id;
