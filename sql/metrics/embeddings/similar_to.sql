-- The images whose activations are most like those of one image.
-- Grain: one row per run and image, nearest first.
-- Parameters: rel (or a list), query_id (an image_id of rel), k := 10 (of each run)
-- Edges: NULL, NaN and zero activations are left out; 9 decimals, as knn_graph; without itself; unknown: an error.
-- Source: cosine distance, 1 - cosine similarity
create or replace macro similar_to(rel, query_id, k := 10) as table
with _query as (
    select
        run,
        case
            when count(*) filter (where image_id = query_id) > 0
                then any_value(activation::double[]) filter (where image_id = query_id)
            else error(format('{} has no image_id {}', run, query_id))
        end as wanted,
    from query(_rel(rel))
    group by run
),

_distances as materialized (
    select
        _images.run,
        _images.image_id,
        _images.uri,
        round(greatest(0, list_cosine_distance(_images.activation::double[], _query.wanted)), 9) as distance,
    from query(_rel(rel)) as _images
    inner join _query on _images.run = _query.run
    where _images.image_id <> query_id
        -- DuckDB 1.4 gives a distance for NaN and zero vectors too, so they are excluded by their norms.
        and list_inner_product(_images.activation::double[], _images.activation::double[]) > 0
        and isfinite(list_inner_product(_images.activation::double[], _images.activation::double[]))
        and isfinite(list_inner_product(_query.wanted, _query.wanted))
),

_ranked as (
    select
        *,
        row_number() over (partition by run order by distance, image_id) as rank,
    from _distances
    where not isnan(distance)
)

select
    image_id,
    distance,
    uri,
    run,
from _ranked
where rank <= k
order by run, rank;
