-- Give images without statistics those of an image with the same bytes.
-- Grain: one row per image without statistics whose bytes were measured.
-- Parameters: none
-- Edges: nothing is computed twice.
-- Source: this project
update images
set
    brightness = known.brightness,
    contrast = known.contrast,
    sharpness = known.sharpness,
    colourfulness = known.colourfulness,
    entropy = known.entropy
from (
    select
        sha256,
        any_value(brightness) as brightness,
        any_value(contrast) as contrast,
        any_value(sharpness) as sharpness,
        any_value(colourfulness) as colourfulness,
        any_value(entropy) as entropy,
    from images
    where sha256 in (select images.sha256 from images where images.brightness is null)
    group by sha256
    having count(brightness) > 0
) as known
where images.brightness is null
    and images.sha256 = known.sha256;
