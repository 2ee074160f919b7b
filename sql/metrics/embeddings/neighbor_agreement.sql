-- How many of an image's neighbors have its label, and which label most of them have.
-- Grain: one row per image with a label and a labeled neighbor, least agreeing first.
-- Parameters: rel, neighbors (image_id, neighbor_id, rank, such as <run>_neighbors), k := 10
-- Edges: neighbors without a label do not count; the lower label wins a tie; reads image_id and label of rel alone.
-- Source: Cover & Hart (1967), Nearest Neighbor Pattern Classification, IEEE Trans. Inf. Theory 13:21-27.
create or replace macro neighbor_agreement(rel, neighbors, k := 10) as table
with _labels as (
    select
        image_id,
        label,
        label_name,
        uri,
    from _one_run_once(rel)
    where label >= 0
),

_near as (
    select
        image_id,
        neighbor_id,
    from _one_run(neighbors)
    where rank <= k
),

_votes as (
    select
        _near.image_id,
        _own.label,
        _own.label_name,
        _own.uri,
        _other.label as vote,
        any_value(_other.label_name) as vote_name,
        count(*) as votes,
    from _near
    inner join _labels as _own
        on _near.image_id = _own.image_id
    inner join _labels as _other
        on _near.neighbor_id = _other.image_id
    group by _near.image_id, _own.label, _own.label_name, _own.uri, _other.label
)

select
    image_id,
    label,
    sum(votes)::bigint as neighbors,
    coalesce(sum(votes) filter (where vote = label), 0) / nullif(sum(votes), 0) as purity,
    arg_max(vote, (votes, -vote)) as neighbor_label,
    label_name,
    arg_max(vote_name, (votes, -vote)) as neighbor_label_name,
    uri,
from _votes
group by image_id, label, label_name, uri
order by purity asc, image_id asc;
