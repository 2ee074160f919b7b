-- Images whose answer changed from right to wrong or back, newly wrong ones first, the most confident first.
-- Grain: one row per image that one of the two has right and the other wrong.
-- Parameters: rel, baseline, max_rows := 50
-- Edges: images of both, as in paired; confidence_run is NULL where rel has none; NaN and NULL come last.
-- Source: Yan et al. (2021), Positive-Congruent Training, CVPR: negative and positive flips.
create or replace macro flips(rel, baseline, max_rows := 50) as table
with _rows as (
    -- A relation may lack this column.
    select null::float as confidence
    where false
    union all by name
    from query(_rel(rel))
)

select
    _pairs.image_id,
    _pairs.label,
    _pairs.pred_run,
    _pairs.pred_baseline,
    _pairs.correct_run,
    _pairs.correct_baseline,
    _rows.confidence as confidence_run,
    _rows.label_name,
    _rows.pred_name,
    _rows.uri,
from paired(rel, baseline) as _pairs
inner join _rows
    on _pairs.image_id = _rows.image_id
    and _pairs.pred_run = _rows.pred
where _pairs.correct_run <> _pairs.correct_baseline
order by
    _pairs.correct_run asc,
    case when not isnan(_rows.confidence) then _rows.confidence end desc nulls last,
    _pairs.image_id asc
limit max_rows;
