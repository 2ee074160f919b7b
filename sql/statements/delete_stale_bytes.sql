-- Drop embedded bytes that were scanned anew.
-- Grain: one row per image scanned with its bytes.
-- Parameters: 1 data set
-- Edges: none
-- Source: this project
delete from image_bytes
where image_id in (
    select images.image_id
    from scanned
    inner join images on scanned.uri = images.uri
    where images.dataset = ?
        and scanned.bytes is not null
);
