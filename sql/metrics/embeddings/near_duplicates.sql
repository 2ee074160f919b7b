-- Pairs of images that are nearly the same.
-- Grain: one row per run and pair, nearest first; image_a < image_b.
-- Parameters: neighbors (such as <run>_neighbors, or a list), max_distance := null (as in Edges)
-- Edges: null is a tenth of the median distance of an image to its nearest; both directions are one row; no NaN.
-- Source: definition; distances of different models are not comparable, so no fixed threshold fits all of them
create or replace macro near_duplicates(neighbors, max_distance := null) as table
with _nearest as (
    select
        run,
        min(distance) as nearest,
    from query(_rel(neighbors))
    where not isnan(distance::double)
        and image_id <> neighbor_id
    group by run, image_id
),

_threshold as (
    select
        run,
        coalesce(max_distance::double, median(nearest) / 10) as threshold,
    from _nearest
    group by run
)

select
    least(_pairs.image_id, _pairs.neighbor_id) as image_a,
    greatest(_pairs.image_id, _pairs.neighbor_id) as image_b,
    min(_pairs.distance) as distance,
    _pairs.run,
from query(_rel(neighbors)) as _pairs
inner join _threshold on _pairs.run = _threshold.run
where _pairs.distance <= _threshold.threshold
    and _pairs.image_id <> _pairs.neighbor_id
group by _pairs.run, image_a, image_b
order by _pairs.run, distance, image_a, image_b;
