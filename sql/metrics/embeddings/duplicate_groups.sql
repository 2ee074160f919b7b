-- Groups of images that are connected by near-duplicate pairs, directly or through others.
-- Grain: one row per run and image that has a near duplicate, largest group first.
-- Parameters: neighbors (image_id, neighbor_id, distance; or a list), max_distance := null (as near_duplicates)
-- Edges: group_id is the smallest image_id of the group; images without near duplicates have no row.
-- Source: Zhang, Azad & Hu (2020), FastSV: A Distributed-Memory Connected Component Algorithm, SIAM PP, 46-57.
create or replace macro duplicate_groups(neighbors, max_distance := null) as table
with recursive _edges as materialized (
    select
        run,
        image_a as source_id,
        image_b as target_id,
    from near_duplicates(neighbors, max_distance := max_distance)
    union all
    select
        run,
        image_b as source_id,
        image_a as target_id,
    from near_duplicates(neighbors, max_distance := max_distance)
),

-- Each image points to an image of its group with a smaller or equal identifier, initially to itself. A round makes it
-- point to where its target points, which halves chains: the number of rounds is logarithmic, not one per link.
_groups as (
    select distinct
        run,
        source_id as image_id,
        source_id as group_id,
        true as goes_on,
    from _edges
    union all
    (
        with _grand as (
            select
                _groups.run,
                _groups.image_id,
                _groups.group_id,
                _parents.group_id as grand_id,
            from _groups
            inner join _groups as _parents
                on _groups.run = _parents.run
                and _groups.group_id = _parents.image_id
            where _groups.goes_on
        ),

        _near as (
            select
                _edges.run,
                _edges.source_id as image_id,
                min(_grand.grand_id) as near_id,
            from _edges
            inner join _grand
                on _edges.run = _grand.run
                and _edges.target_id = _grand.image_id
            group by _edges.run, _edges.source_id
        ),

        -- The smallest identifier among the neighbors of an image is offered to the image and to its target.
        _offers as (
            select run, image_id, group_id as old_id, grand_id as offer from _grand
            union all
            select run, image_id, null as old_id, near_id as offer from _near
            union all
            select _grand.run, _grand.group_id as image_id, null as old_id, _near.near_id as offer
            from _grand
            inner join _near
                on _grand.run = _near.run
                and _grand.image_id = _near.image_id
        )

        select
            run,
            image_id,
            min(offer) as group_id,
            bool_or(min(offer) < max(old_id)) over () as goes_on,
        from _offers
        group by run, image_id
    )
)

select
    group_id,
    image_id,
    count(*) over (partition by run, group_id) as group_size,
    run,
from _groups
where not goes_on
order by run asc, group_size desc, group_id asc, image_id asc;
