-- Wrong answers, most confident first.
-- Grain: one row per wrongly predicted image.
-- Parameters: rel, limit_n := 50
-- Edges: NULL label or pred is left out; NaN or NULL confidence comes last; p_label is NULL when the label has none.
-- Source: this project
create or replace macro worst(rel, limit_n := 50) as table
select
    image_id,
    label,
    pred,
    confidence,
    probs[label + 1] as p_label,
from query_table(rel)
where label is not null
    and pred is not null
    and pred <> label
order by
    case when not isnan(confidence) then confidence end desc nulls last,
    p_label asc nulls last,
    image_id asc
limit limit_n;
