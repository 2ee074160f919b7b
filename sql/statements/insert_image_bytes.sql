-- Embed the bytes that were scanned.
-- Grain: one row per image scanned with its bytes.
-- Parameters: 1 data set
-- Edges: none
-- Source: this project
insert into image_bytes (image_id, bytes)
select
    images.image_id,
    scanned.bytes,
from scanned
inner join images on scanned.uri = images.uri
where images.dataset = ?
    and scanned.bytes is not null;
