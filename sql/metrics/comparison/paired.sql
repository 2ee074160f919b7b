-- A run and its baseline side by side: the images that both have answered.
-- Grain: one row per image of both relations.
-- Parameters: rel, baseline (joined by image_id; the label is that of rel)
-- Edges: images missing in one, NULL label or NULL pred of either are left out; label or pred below 0 is wrong.
-- Source: definition
create or replace macro paired(rel, baseline) as table
select
    image_id,
    label,
    pred_run,
    pred_baseline,
    correct_run,
    correct_baseline,
from _pairs(rel, baseline);
