-- What images look like: brightness, contrast, sharpness, colorfulness and entropy of their pixels.
-- Grain: one row per image that measure_images has measured.
-- Parameters: none
-- Edges: all but colorfulness are of luma (Rec. 601); sharpness is NULL below 3 x 3 pixels; kept in images.
-- Source: mean and deviation / 255; variance of the Laplacian; Hasler & Suesstrunk (2003); Shannon entropy in bits
create or replace view image_statistics as
select
    image_id,
    sha256,
    brightness,
    contrast,
    sharpness,
    colorfulness,
    entropy,
    width_px / nullif(height_px, 0) as aspect,
from images
where brightness is not null;
