-- The k nearest images of every image on a map, all pairs compared: for some thousands of images.
-- Grain: one row per image and neighbour, in order of image and rank.
-- Parameters: rel (with columns image_id, x, y), k := 10
-- Edges: NULL or NaN x or y is left out; ties in order of image_id; an image is not its own.
-- Source: exact search by Euclidean distance; scikit-learn's NearestNeighbors(algorithm='brute')
create or replace macro knn_graph_xy(rel, k := 10) as table
with _points as materialized (
    select
        image_id,
        [x, y]::double[] as point,
    from query_table(rel)
    where isfinite(x::double)
        and isfinite(y::double)
),

_pairs as ( -- noqa: ST03
    select
        _from.image_id,
        _to.image_id as other_id,
        list_distance(_from.point, _to.point) as gap,
    from _points as _from
    cross join _points as _to
    where _from.image_id <> _to.image_id
)

from nearest_pairs('_pairs', k);
