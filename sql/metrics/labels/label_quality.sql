-- How well each image's label fits its probabilities.
-- Grain: one row per run and image, least fitting first.
-- Parameters: rel (or a list)
-- Edges: NULL label, pred or probs, NaN in probs and labels outside them are left out; one class: margin NULL.
-- Source: Northcutt, Jiang & Chuang (2021), Confident Learning; normalized_margin = (p_label - largest other + 1) / 2
create or replace macro label_quality(rel) as table
select
    image_id,
    label,
    pred,
    _p_of(probs, label)::double as self_confidence,
    (
        _p_of(probs, label)::double
        - greatest(list_max(probs[1:label]), list_max(probs[label + 2:]))::double
        + 1
    ) / 2 as normalized_margin,
    label_name,
    pred_name,
    uri,
    run,
from query(_rel(rel))
where label is not null
    and pred is not null
    and not isnan(list_max(probs)::double)
    and _p_of(probs, label) is not null
order by run, self_confidence, image_id;
