-- How far each image is from its nearest neighbors: the farthest are outliers.
-- Grain: one row per run and image, farthest first.
-- Parameters: neighbors (image_id, neighbor_id, rank, distance, such as <run>_neighbors; or a list), k := 10
-- Edges: NULL and NaN distances are left out; fewer than k neighbors: those there are; percentile 1 is the farthest.
-- Source: Angiulli & Pizzuti (2002), PKDD 15-26; cleanlab scores exp(-mean_distance / median of all mean distances)
create or replace macro knn_outliers(neighbors, k := 10) as table
with _means as (
    select
        run,
        image_id,
        avg(distance) as mean_distance,
        max(distance) as kth_distance,
    from query(_rel(neighbors))
    where rank <= k
        and not isnan(distance::double)
    group by run, image_id
)

select
    image_id,
    mean_distance,
    kth_distance,
    cume_dist() over (partition by run order by mean_distance) as percentile,
    run,
from _means
order by run asc, mean_distance desc, image_id asc;
