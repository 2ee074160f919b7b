-- Images without statistics: one for every distinct content, or all of them.
-- Grain: one row per content (shared) or per image, in image order.
-- Parameters: shared; dataset (NULL means all)
-- Edges: none
-- Source: this project
select
    min(image_id) as image_id,
    any_value(n_bytes) as n_bytes,
from images
where brightness is null
    and dataset = coalesce($dataset, dataset)
group by {{ 'sha256' if shared else 'images.image_id' }}
order by image_id;
