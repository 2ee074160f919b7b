-- Add the images that were scanned and not known.
-- Grain: one row per new image.
-- Parameters: 1 data set
-- Edges: image_id goes on from the largest there is, in the order of the source.
-- Source: this project
insert into images (
    image_id, dataset, uri, sha256, n_bytes, format, width_px, height_px, split, label, accepted, meta
)
select
    last_image.image_id + row_number() over (order by scanned.position) as image_id,
    last_image.dataset,
    scanned.uri,
    scanned.sha256,
    scanned.n_bytes,
    scanned.format,
    scanned.width_px,
    scanned.height_px,
    scanned.split,
    scanned.label,
    scanned.accepted,
    scanned.meta,
from scanned
cross join (
    select
        coalesce(max(images.image_id), 0) as image_id,
        ? as dataset,
    from images
) as last_image
left join images on scanned.uri = images.uri and last_image.dataset = images.dataset
where scanned.message is null
    and images.uri is null;
