-- Images: what a scan of a source (relation scanned) adds and changes.

-- name: count_scanned
-- How many scanned entries are new, changed, known and unreadable.
-- Changed means other bytes, label, accepted, split or meta under a known uri, as in update_images.
with _compared as (
    select
        scanned.message is not null as is_error,
        images.uri is null as is_new,
        scanned.label is not null or scanned.accepted is not null as is_labeled,
        images.label is not null and scanned.label is null and scanned.accepted is null as keeps_label,
        images.split is not null and scanned.split is null as keeps_split,
        (
            images.sha256 <> scanned.sha256
            or (not scanned.keeps_review and images.label is distinct from coalesce(scanned.label, images.label))
            or (not scanned.keeps_review and images.accepted is distinct from coalesce(scanned.accepted, images.accepted))
            or images.split is distinct from coalesce(scanned.split, images.split)
            or images.meta is distinct from coalesce(scanned.meta, images.meta, scanned.exif)
        ) as differs,
    from scanned
    left join images on scanned.uri = images.uri and images.dataset = ?
)

select
    count(*) filter (where not is_error and is_new) as n_added,
    count(*) filter (where not is_error and not is_new and differs) as n_changed,
    count(*) filter (where not is_error and not is_new and not differs) as n_unchanged,
    count(*) filter (where is_error) as n_errors,
    count(*) filter (where not is_error and is_labeled) as n_labeled,
    count(*) filter (where not is_error and keeps_label) as n_keep_label,
    count(*) filter (where not is_error and keeps_split) as n_keep_split,
from _compared;


-- name: read_last_image
-- The largest image_id; images of a scan come after it.
select coalesce(max(image_id), 0) as image_id
from images;


-- name: list_moved
-- Known images that a scan found under another path: same bytes, and the old path ends with the same relative path.
-- Values: the data set, and the last image_id before this scan: what the scan itself added has not moved.
with _new as (
    select
        scanned.uri,
        scanned.sha256,
        scanned.relative,
        len(string_split(scanned.relative, '/')) as depth,
    from scanned
    cross join (select ? as dataset) as parameters
    left join images on scanned.uri = images.uri and parameters.dataset = images.dataset
    where scanned.message is null
        and scanned.relative is not null
        and images.uri is null
),

-- Many images can have the same bytes and the same name: only the whole end of the path is joined.
_known as (
    select
        images.image_id,
        images.uri,
        images.sha256,
        depths.depth,
        string_split(replace(images.uri, '\', '/'), '/') as names,
        array_to_string(list_slice(names, -depths.depth, -1), '/') as relative,
    from images
    cross join (select distinct _new.depth from _new) as depths
    where images.dataset = ?
        and images.image_id <= ?
        and images.sha256 in (select _new.sha256 from _new)
)

select
    _known.image_id,
    _known.uri as old_uri,
    _new.uri as new_uri,
from _new
inner join _known
    on _new.sha256 = _known.sha256
    and _new.depth = _known.depth
    and _new.relative = _known.relative
    and len(_known.names) > _known.depth
qualify count(*) over (partition by _new.uri) = 1
    and count(*) over (partition by _known.image_id) = 1;


-- name: list_moved_within
-- Known images that a scan found in another folder of the same source: same bytes, same name of the file.
-- Values: as in list_moved. Whether the old file is gone is seen by who asks.
with _new as (
    select
        scanned.uri,
        scanned.sha256,
        replace(scanned.uri, '\', '/') as slashed,
        parse_filename(scanned.relative) as file,
        left(slashed, length(slashed) - length(scanned.relative)) as root,
    from scanned
    cross join (select ? as dataset) as parameters
    left join images on scanned.uri = images.uri and parameters.dataset = images.dataset
    where scanned.message is null
        and ends_with(slashed, '/' || scanned.relative)
        and images.uri is null
),

_known as (
    select
        image_id,
        uri,
        sha256,
        replace(uri, '\', '/') as slashed,
        parse_filename(slashed) as file,
    from images
    where dataset = ?
        and image_id <= ?
        and sha256 in (select _new.sha256 from _new)
)

select
    _known.image_id,
    _known.uri as old_uri,
    _new.uri as new_uri,
from _new
inner join _known
    on _new.sha256 = _known.sha256
    and _new.file = _known.file
    and starts_with(_known.slashed, _new.root)
qualify count(*) over (partition by _new.uri) = 1
    and count(*) over (partition by _known.image_id) = 1;


-- name: count_contradictions
-- Images of a data set after a given image_id with the bytes of another one that has another label; one such pair.
-- Values: the data set, then the image_id.
with _several as (
    select
        sha256,
        min(label) as lowest,
        arg_min(uri, (label, image_id)) as uri_of_lowest,
        arg_max(uri, (label, -image_id)) as uri_of_highest,
    from images
    where dataset = ?
        and label is not null
    group by sha256
    having min(label) < max(label)
),

_added as (
    select
        images.image_id,
        images.uri,
        case when images.label = _several.lowest then _several.uri_of_highest else _several.uri_of_lowest end as other_uri,
    from images
    inner join _several on images.sha256 = _several.sha256
    where images.dataset = ?
        and images.image_id > ?
        and images.label is not null
)

select
    count(*) as n,
    arg_min(uri, image_id) as uri,
    arg_min(other_uri, image_id) as other_uri,
from _added;


-- name: update_moved
-- Point images to where they lie now (relation moved).
update images
set uri = moved.uri
from moved
where images.image_id = moved.image_id;


-- name: count_all_images
-- How many images the file has.
select count(*) as n
from images;


-- name: list_image_ids
-- The ids of all images, in order.
select image_id
from images
order by image_id;


-- name: read_image
-- One image and where it is.
select
    images.uri,
    image_files.image,
from images
inner join image_files on images.image_id = image_files.image_id
where images.image_id = ?;


-- name: count_splits
-- Images of a data set by split.
select
    split,
    count(*) as n,
from images
where dataset = ?
group by split
order by split nulls last;


-- name: insert_images
-- Add the images that were scanned and are not known.
-- image_id continues after the largest one, in the order of the source.
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
    coalesce(scanned.meta, scanned.exif) as meta,
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


-- name: update_images
-- Update known images whose bytes, label, accepted, split or meta differ from what was scanned.
-- A reviewed label of the same bytes stays where the scan has another one (keeps_review).
-- A scan without label, accepted, split or meta erases none; statistics describe the old bytes and go with them, and
-- EXIF of other bytes replaces that of the old ones.
-- accepted has a statement of its own: DuckDB updates a plain column in place and notices another transaction that does
-- so, but replaces the whole row where a list is updated, too, and notices none.
update images
set
    sha256 = scanned.sha256,
    n_bytes = scanned.n_bytes,
    format = scanned.format,
    width_px = scanned.width_px,
    height_px = scanned.height_px,
    label = case when scanned.keeps_review then images.label else coalesce(scanned.label, images.label) end,
    split = coalesce(scanned.split, images.split),
    meta = coalesce(
        scanned.meta,
        case
            when images.sha256 = scanned.sha256 or scanned.exif is null then images.meta
            else json_merge_patch(images.meta, scanned.exif)
        end,
        scanned.exif
    ),
    brightness = case when images.sha256 = scanned.sha256 then images.brightness end,
    contrast = case when images.sha256 = scanned.sha256 then images.contrast end,
    sharpness = case when images.sha256 = scanned.sha256 then images.sharpness end,
    colorfulness = case when images.sha256 = scanned.sha256 then images.colorfulness end,
    entropy = case when images.sha256 = scanned.sha256 then images.entropy end
from scanned
where images.dataset = ?
    and images.uri = scanned.uri
    and scanned.message is null
    and (
        images.sha256 <> scanned.sha256
        or (not scanned.keeps_review and images.label is distinct from coalesce(scanned.label, images.label))
        or (not scanned.keeps_review and images.accepted is distinct from coalesce(scanned.accepted, images.accepted))
        or images.split is distinct from coalesce(scanned.split, images.split)
        or images.meta is distinct from coalesce(scanned.meta, images.meta, scanned.exif)
    );


-- name: claim_labels
-- Change the labels of the images whose accepted labels will be updated; restore_labels changes them back.
-- From then on another transaction that updates such a label is refused: its label would be lost with the row.
update images
set label = coalesce(images.label + 1, -2147483648)
from scanned
where images.dataset = ?
    and images.uri = scanned.uri
    and scanned.message is null
    and scanned.accepted is not null
    and not scanned.keeps_review
    and images.accepted is distinct from scanned.accepted;


-- name: restore_labels
-- The labels as they were before claim_labels.
update images
set label = nullif(images.label, -2147483648) - 1
from scanned
where images.dataset = ?
    and images.uri = scanned.uri
    and scanned.message is null
    and scanned.accepted is not null
    and not scanned.keeps_review
    and images.accepted is distinct from scanned.accepted;


-- name: update_accepted_labels
-- Update the accepted labels of the images of which they differ, after update_images.
update images
set accepted = scanned.accepted
from scanned
where images.dataset = ?
    and images.uri = scanned.uri
    and scanned.message is null
    and scanned.accepted is not null
    and not scanned.keeps_review
    and images.accepted is distinct from scanned.accepted;


-- name: insert_image_bytes
-- Store the bytes that were scanned.
insert into image_bytes (image_id, bytes)
select
    images.image_id,
    scanned.bytes,
from scanned
inner join images on scanned.uri = images.uri
where images.dataset = ?
    and scanned.bytes is not null;


-- name: delete_stale_bytes
-- Delete the stored bytes of images that were scanned with other bytes, or with bytes to store.
delete from image_bytes
where image_id in (
    select images.image_id
    from scanned
    inner join images on scanned.uri = images.uri
    where images.dataset = ?
        and scanned.message is null
        and (scanned.bytes is not null or images.sha256 <> scanned.sha256)
);


-- name: insert_read_errors
-- Record the entries that could not be read.
-- run is NULL; image_id is that of a known image whose file has become unreadable.
insert into errors (run, dataset, image_id, uri, stage, error, message)
select
    null as run,
    parameters.dataset,
    images.image_id,
    scanned.uri,
    'read' as stage,
    'ImageError' as error,
    scanned.message,
from scanned
cross join (select ? as dataset) as parameters
left join images on scanned.uri = images.uri and parameters.dataset = images.dataset
where scanned.message is not null;


-- name: delete_read_errors
-- Delete earlier read errors of the scanned entries; errors of runs stay.
delete from errors
where run is null
    and dataset = ?
    and uri in (select scanned.uri from scanned);


-- name: recorded_hashes
-- The SHA-256 that the rows of these images have. The names are text, as a relation has no parameters.
select
    uri,
    sha256,
from images
where uri in ({% for path in paths %}{{ literal(path) }}{{ ', ' if not loop.last }}{% else %}null{% endfor %});


-- name: count_images
-- How many images the file has.
select count(*) as n
from images;


-- name: describe_images
-- Columns of images and their types.
select
    column_name,
    data_type,
from duckdb_columns()
where database_name = current_database()
    and schema_name = 'main'
    and table_name = 'images';


-- name: list_stored_images
-- One block of images with hash and stored bytes, in the order of image_id; bytes is NULL for images by reference.
-- Values: the last image_id of the block before, then the size of the block.
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


-- name: count_copies
-- Images of a data set after a given image_id with the bytes and the label of one up to it; one such pair. Values: the
-- data set, the image_id, the data set, the image_id.
with _before as (
    select
        sha256,
        label,
        arg_min(uri, image_id) as uri,
    from images
    where dataset = ?
        and image_id <= ?
    group by sha256, label
)

select
    count(*) as n,
    arg_min(images.uri, images.image_id) as uri,
    arg_min(_before.uri, images.image_id) as other_uri,
from images
inner join _before on images.sha256 = _before.sha256 and images.label is not distinct from _before.label
where images.dataset = ?
    and images.image_id > ?;
