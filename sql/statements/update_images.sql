-- Bring known images up to date with what was scanned.
-- Grain: one row per image whose bytes, label, accepted, split or meta differ.
-- Parameters: 1 data set
-- Edges: a scan without label, accepted, split or meta erases none; statistics are of the old bytes and go with them.
-- Source: this project
update images
set
    sha256 = scanned.sha256,
    n_bytes = scanned.n_bytes,
    format = scanned.format,
    width_px = scanned.width_px,
    height_px = scanned.height_px,
    label = coalesce(scanned.label, images.label),
    accepted = coalesce(scanned.accepted, images.accepted),
    split = coalesce(scanned.split, images.split),
    meta = coalesce(scanned.meta, images.meta),
    brightness = case when images.sha256 = scanned.sha256 then images.brightness end,
    contrast = case when images.sha256 = scanned.sha256 then images.contrast end,
    sharpness = case when images.sha256 = scanned.sha256 then images.sharpness end,
    colourfulness = case when images.sha256 = scanned.sha256 then images.colourfulness end,
    entropy = case when images.sha256 = scanned.sha256 then images.entropy end
from scanned
where images.dataset = ?
    and images.uri = scanned.uri
    and scanned.message is null
    and (
        images.sha256 <> scanned.sha256
        or images.label is distinct from coalesce(scanned.label, images.label)
        or images.accepted is distinct from coalesce(scanned.accepted, images.accepted)
        or images.split is distinct from coalesce(scanned.split, images.split)
        or images.meta is distinct from coalesce(scanned.meta, images.meta)
    );
