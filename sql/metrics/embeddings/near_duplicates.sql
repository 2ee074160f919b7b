-- Pairs of images that are nearly the same.
-- Grain: one row per pair, nearest first; image_a < image_b.
-- Parameters: neighbors (a relation of image_id, neighbor_id, distance: <run>_neighbors), max_distance := 0.05
-- Edges: a pair listed from both sides is one row, with the smaller distance; NULL and NaN distances are left out.
-- Source: definition
create or replace macro near_duplicates(neighbors, max_distance := 0.05) as table
select
    least(image_id, neighbor_id) as image_a,
    greatest(image_id, neighbor_id) as image_b,
    min(distance) as distance,
from query_table(neighbors)
where distance <= max_distance
    and image_id <> neighbor_id
group by all
order by distance, image_a, image_b;
