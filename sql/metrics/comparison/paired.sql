-- A run and its baseline side by side: the images that both have answered.
-- Grain: one row per image of both relations.
-- Parameters: rel, baseline (joined by image_id; the label is that of rel), is_right := null (over columns of either)
-- Edges: images missing in one, NULL label, pred or is_right of either are left out; label or pred below 0 is wrong.
-- Source: definition
create or replace macro paired(rel, baseline, is_right := null) as table
select
    image_id,
    label,
    pred_run,
    pred_baseline,
    correct_run,
    correct_baseline,
from _pairs(rel, baseline, is_right := is_right);
