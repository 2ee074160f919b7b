-- Pairs of images of a run that are nearly the same to the model.
-- Grain: one row per pair, nearest first, at most $max_pairs; n_found, n_leaks and n_labels count all pairs.
-- Parameters: run
-- Edges: near is under a tenth of the median distance to a nearest neighbour; equal bytes are left to exact_copies.
-- Source: macro near_duplicates over table neighbours
with _unit as (
    select median(distance) as unit
    from neighbours
    where run = {{ literal(run) }}
        and space = 'activation'
        and rank = 1
),

scaled as ( -- noqa: ST03
    select
        neighbours.image_id,
        neighbours.neighbor_id,
        neighbours.distance / nullif(_unit.unit, 0) as distance,
    from neighbours
    cross join _unit
    where neighbours.run = {{ literal(run) }}
        and neighbours.space = 'activation'
),

_pairs as (
    select
        near.image_a,
        near.image_b,
        near.distance,
        one.uri as uri_a,
        other.uri as uri_b,
        one.split as split_a,
        other.split as split_b,
        coalesce(one.label_name, one.label::varchar) as label_a,
        coalesce(other.label_name, other.label::varchar) as label_b,
        greatest(one.width_px, one.height_px, other.width_px, other.height_px) as size_px,
    from near_duplicates('scaled', max_distance := 0.1) as near
    inner join {{ ident(run) }} as one on near.image_a = one.image_id
    inner join {{ ident(run) }} as other on near.image_b = other.image_id
    where one.sha256 <> other.sha256
)

select
    image_a,
    image_b,
    distance,
    uri_a,
    uri_b,
    split_a,
    split_b,
    label_a,
    label_b,
    size_px,
    count(*) over () as n_found,
    count(*) filter (where split_a <> split_b) over () as n_leaks,
    count(*) filter (where label_a <> label_b) over () as n_labels,
from _pairs
order by split_a is not distinct from split_b, label_a is not distinct from label_b, distance, image_a, image_b
limit $max_pairs;
