-- Groups of images joined by near-duplicate pairs, however long the chain.
-- Grain: one row per image that has a near duplicate, largest group first.
-- Parameters: nbr (a relation of image_id, neighbor_id, distance, such as <run>_neighbours), max_distance := 0.05
-- Edges: group_id is the smallest image_id of the group; images without near duplicates have no row.
-- Source: connected components by spreading the smallest identifier
create or replace macro duplicate_groups(nbr, max_distance := 0.05) as table
with recursive _edges as materialized ( -- noqa: PRS
    select
        image_a as source_id,
        image_b as target_id,
    from near_duplicates(nbr, max_distance := max_distance)
    union all
    select
        image_b as source_id,
        image_a as target_id,
    from near_duplicates(nbr, max_distance := max_distance)
),

_groups(image_id, group_id) using key (image_id) as (
    select
        source_id,
        min(least(source_id, target_id)),
    from _edges
    group by source_id
    union all
    select
        _edges.target_id,
        min(_groups.group_id),
    from _groups
    inner join _edges
        on _groups.image_id = _edges.source_id
    inner join recurring._groups as _known
        on _edges.target_id = _known.image_id
    where _groups.group_id < _known.group_id
    group by _edges.target_id
)

select
    group_id,
    image_id,
    count(*) over (partition by group_id) as group_size,
from _groups
order by group_size desc, group_id asc, image_id asc;
