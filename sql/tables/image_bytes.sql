-- Encoded bytes of the images that the file stores; apart, so that `from images` prints no blobs.
-- Grain: one row per stored image.
-- Parameters: none
-- Edges: an image without a row is read from its uri.
-- Source: this project
create table if not exists image_bytes (
    image_id bigint not null,
    bytes blob not null
);
