-- The k nearest of counted pairs of images, ranked: what knn_graph and knn_graph_xy share.
-- Grain: one row per image and neighbour, in order of image and rank.
-- Parameters: rel (a relation of image_id, other_id, gap), k
-- Edges: ties in order of other_id; fewer than k pairs: those there are.
-- Source: this project
create or replace macro nearest_pairs(rel, k) as table
with _nearest as (
    select
        image_id,
        min(struct_pack(gap := gap, other_id := other_id), k) as found,
    from query_table(rel)
    group by image_id
),

_long as (
    select
        image_id,
        unnest(found) as one,
        generate_subscripts(found, 1) as rank,
    from _nearest
)

select
    image_id,
    one.other_id as neighbor_id,
    rank,
    one.gap as distance,
from _long
order by image_id, rank;
