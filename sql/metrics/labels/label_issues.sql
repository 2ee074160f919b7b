-- Images whose label is probably wrong: they confidently belong to another class.
-- Grain: one row per run and suspect image, least fitting first.
-- Parameters: rel (or a list)
-- Edges: left out as in label_quality; an image whose label is within 1e-6 of the most probable class is not a suspect.
-- Source: Northcutt, Jiang & Chuang (2021), Confident Learning; margin = p_label - largest other
create or replace macro label_issues(rel) as table
select
    image_id,
    label,
    pred,
    suggested,
    self_confidence,
    confidence,
    margin,
    label_name,
    pred_name,
    uri,
    run,
from _confident_guesses(rel)
where suggested <> label
    and margin < -1e-6
order by run, self_confidence, image_id;
