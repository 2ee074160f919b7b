-- The images whose activations are most like those of one image.
-- Grain: one row per image, nearest first.
-- Parameters: rel, query_id (an image_id of rel), k := 10
-- Edges: NULL or NaN activation is left out, a zero vector too; the image itself is not listed; unknown: no rows.
-- Source: cosine distance, 1 - cosine similarity
create or replace macro similar_to(rel, query_id, k := 10) as table
with _query as (
    select any_value(activation) as wanted
    from query_table(rel)
    where image_id = query_id
),

_distances as (
    select
        image_id,
        list_cosine_distance(activation, wanted)::double as distance,
    from query_table(rel)
    cross join _query
    where image_id <> query_id
        and activation is not null
        and wanted is not null
)

select
    image_id,
    distance,
from _distances
where not isnan(distance)
order by distance, image_id
limit k;
