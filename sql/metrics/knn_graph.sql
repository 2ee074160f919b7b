-- The k nearest images of every image by their activations, all pairs compared: for some thousands of images.
-- Grain: one row per image and neighbour, in order of image and rank.
-- Parameters: rel, k := 10
-- Edges: NULL or NaN activation is left out, a zero vector too; ties in order of image_id; an image is not its own.
-- Source: exact search by cosine distance; scikit-learn's NearestNeighbors(algorithm='brute', metric='cosine')
create or replace macro knn_graph(rel, k := 10) as table
with _points as materialized (
    select
        image_id,
        activation,
    from query_table(rel)
    where activation is not null
),

_pairs as (
    select
        _from.image_id,
        _to.image_id as other_id,
        list_cosine_distance(_from.activation, _to.activation)::double as gap,
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
