-- Wrong answers, most confident first.
-- Grain: one row per wrongly predicted image.
-- Parameters: rel, max_rows := 50
-- Edges: NULL label or pred is left out; NaN or NULL confidence comes last; p_label is NULL if probs has no label.
-- Source: definition
create or replace macro worst_mistakes(rel, max_rows := 50) as table
select
    image_id,
    label,
    pred,
    confidence,
    _p_of(probs, label) as p_label,
from query_table(rel)
where label is not null
    and pred is not null
    and not _correct(label, pred)
order by
    case when not isnan(confidence) then confidence end desc nulls last,
    p_label asc nulls last,
    image_id asc
limit max_rows;
