-- The k nearest images of every image on a map, all pairs compared: for some thousands of images.
-- Grain: one row per image and neighbour, in order of image and rank.
-- Parameters: rel (with columns image_id, x, y), k := 10
-- Edges: NULL or NaN x or y is left out; ties in order of image_id; an image is not its own.
-- Source: exact search by Euclidean distance; scikit-learn's NearestNeighbors(algorithm='brute')
create or replace macro knn_graph_xy(rel, k := 10) as table
with _points as materialized (
    select
        image_id,
        x::double as x,
        y::double as y,
    from query_table(rel)
    where not isnan(x::double)
        and not isnan(y::double)
),

_pairs as (
    select
        _from.image_id,
        _to.image_id as other_id,
        sqrt((_from.x - _to.x) ** 2 + (_from.y - _to.y) ** 2) as gap,
    from _points as _from
    inner join _points as _to
        on _from.image_id <> _to.image_id
),

_nearest as (
    select
        image_id,
        min(struct_pack(gap := gap, other_id := other_id), k) as found,
    from _pairs
    where not isnan(gap)
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
