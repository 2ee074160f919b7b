-- Images whose answer changed from right to wrong or back, newly wrong ones first, the most confident first.
-- Grain: one row per image that one of the two runs has right and the other wrong.
-- Parameters: rel_a (before), rel_b (after), limit_n := 50
-- Edges: images of both, as in paired; confidence_b is NULL where rel_b has none; NaN and NULL come last.
-- Source: Yan et al. (2021), Positive-Congruent Training, CVPR: negative and positive flips.
create or replace macro flips(rel_a, rel_b, limit_n := 50) as table
with _second as (
    -- A column that a relation may lack.
    select null::float as confidence
    where false
    union all by name
    from query_table(rel_b)
)

select
    _pairs.image_id,
    _pairs.label,
    _pairs.pred_a,
    _pairs.pred_b,
    _pairs.ok_a,
    _pairs.ok_b,
    _second.confidence as confidence_b,
from paired(rel_a, rel_b) as _pairs
inner join _second
    on _pairs.image_id = _second.image_id
    and _pairs.pred_b = _second.pred
where _pairs.ok_a <> _pairs.ok_b
order by
    _pairs.ok_b asc,
    case when not isnan(_second.confidence) then _second.confidence end desc nulls last,
    _pairs.image_id asc
limit limit_n;
