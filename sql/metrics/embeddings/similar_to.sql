-- The images whose activations are most like those of one image.
-- Grain: one row per image, nearest first.
-- Parameters: rel, query_id (an image_id of rel), k := 10
-- Edges: NULL, NaN and zero activations are left out; 9 decimals, as knn_graph; not the image itself; unknown: no rows.
-- Source: cosine distance, 1 - cosine similarity
create or replace macro similar_to(rel, query_id, k := 10) as table
with _query as (
    select any_value(activation)::double[] as wanted
    from query_table(rel)
    where image_id = query_id
),

_distances as materialized (
    select
        image_id,
        round(greatest(0, list_cosine_distance(activation::double[], wanted)), 9) as distance,
    from query_table(rel)
    cross join _query
    where image_id <> query_id
        -- DuckDB 1.4 gives a distance for NaN and zero vectors too, so they are excluded by their norms.
        and list_inner_product(activation::double[], activation::double[]) > 0
        and isfinite(list_inner_product(activation::double[], activation::double[]))
        and isfinite(list_inner_product(wanted, wanted))
)

select
    image_id,
    distance,
from _distances
where not isnan(distance)
order by distance, image_id
limit k;
