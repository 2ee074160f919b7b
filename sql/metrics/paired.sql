-- Two runs side by side: the images that both have answered.
-- Grain: one row per image of both relations.
-- Parameters: rel_a, rel_b (joined by image_id; the label is that of rel_a)
-- Edges: images missing in one, NULL label or NULL pred of either are left out; pred -1 is wrong.
-- Source: this project
create or replace macro paired(rel_a, rel_b) as table
with _first as (
    select
        image_id,
        label,
        pred as pred_a,
    from query_table(rel_a)
    where label is not null
        and pred is not null
),

_second as (
    select
        image_id,
        pred as pred_b,
    from query_table(rel_b)
    where pred is not null
)

select
    _first.image_id,
    _first.label,
    _first.pred_a,
    _second.pred_b,
    _first.pred_a = _first.label as ok_a,
    _second.pred_b = _first.label as ok_b,
from _first
inner join _second
    on _first.image_id = _second.image_id;
