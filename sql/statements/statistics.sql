-- Statistics of the pixels of images, kept in images.
-- One block at a time goes through the temporary table _measured.

-- name: count_measured
-- How many images there are and how many have statistics; $dataset NULL means all data sets.
select
    count(*) as n_images,
    count(brightness) as n_measured,
from images
where dataset = coalesce($dataset, dataset);


-- name: list_unmeasured
-- Images without statistics: one per distinct content (shared), or all of them; $dataset NULL means all data sets.
select
    min(image_id) as image_id,
    any_value(n_bytes) as n_bytes,
from images
where brightness is null
    and dataset = coalesce($dataset, dataset)
group by {{ 'sha256' if shared else 'images.image_id' }}
order by image_id;


-- name: copy_statistics
-- Copy statistics to images without them from an image with the same bytes.
update images
set
    brightness = known.brightness,
    contrast = known.contrast,
    sharpness = known.sharpness,
    colorfulness = known.colorfulness,
    entropy = known.entropy
from (
    select
        sha256,
        any_value(brightness) as brightness,
        any_value(contrast) as contrast,
        any_value(sharpness) as sharpness,
        any_value(colorfulness) as colorfulness,
        any_value(entropy) as entropy,
    from images
    where sha256 in (select images.sha256 from images where images.brightness is null)
    group by sha256
    having count(brightness) > 0
) as known
where images.brightness is null
    and images.sha256 = known.sha256;


-- name: create_measured
-- Measure the images of a block (relation block_images).
create or replace temp table _measured as
select
    images.image_id,
    images.dataset,
    images.uri,
    images.sha256,
    image_statistics(image_files.image) as answer,
from image_files
inner join images on image_files.image_id = images.image_id
where images.image_id in (select block_images.image_id from block_images);


-- name: update_statistics
-- Store the statistics of a block for every image with the measured bytes.
-- An image whose bytes are not those that were added is an error and gets none.
update images
set
    brightness = _measured.answer.brightness,
    contrast = _measured.answer.contrast,
    sharpness = _measured.answer.sharpness,
    colorfulness = _measured.answer.colorfulness,
    entropy = _measured.answer.entropy
from _measured
where images.sha256 = _measured.sha256
    and _measured.answer.error is null
    and _measured.answer.sha256 = _measured.sha256;


-- name: delete_measure_errors
-- Delete earlier errors of reading the images of a block; errors of runs stay.
delete from errors
where run is null
    and image_id in (select _measured.image_id from _measured);


-- name: insert_measure_errors
-- The images of a block that could not be read, or whose bytes have changed.
insert into errors (run, dataset, image_id, uri, sha256, stage, error, message)
select
    null as run,
    dataset,
    image_id,
    uri,
    sha256,
    coalesce(answer.error.stage, 'read') as stage,
    coalesce(answer.error.error, 'ChangedImage') as error,
    coalesce(answer.error.message, 'the file has other bytes than when it was added; add the images again') as message,
from _measured
where answer.error is not null
    or answer.sha256 <> sha256;
