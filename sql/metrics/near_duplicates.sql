-- Pairs of images that are nearly the same.
-- Grain: one row per pair, nearest first; image_a < image_b.
-- Parameters: nbr (a relation of image_id, neighbor_id, distance, such as <run>_neighbours), max_distance := 0.05
-- Edges: a pair listed from both sides is one row, with the smaller distance; NULL and NaN distances are left out.
-- Source: this project
create or replace macro near_duplicates(nbr, max_distance := 0.05) as table
select
    least(image_id, neighbor_id) as image_a,
    greatest(image_id, neighbor_id) as image_b,
    min(distance) as distance,
from query_table(nbr)
where distance <= max_distance
    and image_id <> neighbor_id
group by all
order by distance, image_a, image_b;
