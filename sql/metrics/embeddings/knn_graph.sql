-- The k nearest images of every image by their activations; compares all pairs, so use it for a few thousand images.
-- Grain: one row per run, image and neighbor, in order of run, image and rank.
-- Parameters: rel (or a list), k := 10
-- Edges: NULL, NaN and zero activations are left out; 9 decimals, ties in order of image_id; without the image itself.
-- Source: exact search by cosine distance; scikit-learn's NearestNeighbors(algorithm='brute', metric='cosine')
create or replace macro knn_graph(rel, k := 10) as table
with _vectors as (
    select
        run,
        image_id,
        activation::double[] as vector,
        sqrt(list_inner_product(activation::double[], activation::double[])) as norm,
    from query(_rel(rel))
    where activation is not null
),

_units as materialized (
    select
        run,
        image_id,
        list_transform(vector, lambda _x: _x / norm) as unit,
    from _vectors
    where norm > 0
        and isfinite(norm)
),

_pairs as (
    select
        _from.run,
        _from.image_id,
        _to.image_id as other_id,
        round(greatest(0, 1 - list_inner_product(_from.unit, _to.unit)), 9) as distance,
    from _units as _from
    inner join _units as _to
        on _from.run = _to.run
        and _from.image_id <> _to.image_id
),

-- min(struct, k) keeps k rows per image and never sorts all pairs; structs are ordered by their first field.
_nearest as (
    select
        run,
        image_id,
        min(struct_pack(distance := distance, other_id := other_id), k) as matches,
    from _pairs
    group by run, image_id
),

_ranked as (
    select
        run,
        image_id,
        unnest(matches) as match,
        generate_subscripts(matches, 1) as rank,
    from _nearest
)

select
    image_id,
    match.other_id as neighbor_id,
    rank,
    match.distance,
    run,
from _ranked
order by run, image_id, rank;
