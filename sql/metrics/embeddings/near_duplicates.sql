-- Pairs of images that are nearly the same.
-- Grain: one row per pair, nearest first; image_a < image_b.
-- Parameters: neighbors (image_id, neighbor_id, distance: <run>_neighbors), max_distance := null (as in Edges)
-- Edges: null is a tenth of the median distance of an image to its nearest; both directions are one row; no NaN.
-- Source: definition; distances of different models are not comparable, so no fixed threshold fits all of them
create or replace macro near_duplicates(neighbors, max_distance := null) as table
with _nearest as (
    select min(distance) as nearest
    from query_table(neighbors)
    where not isnan(distance::double)
        and image_id <> neighbor_id
    group by image_id
),

_threshold as (
    select coalesce(max_distance::double, median(nearest) / 10) as threshold
    from _nearest
)

select
    least(image_id, neighbor_id) as image_a,
    greatest(image_id, neighbor_id) as image_b,
    min(distance) as distance,
from query_table(neighbors)
cross join _threshold
where distance <= threshold
    and image_id <> neighbor_id
group by image_a, image_b
order by distance, image_a, image_b;
