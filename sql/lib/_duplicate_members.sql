-- The answers of a run, each with the group of near duplicates that its image belongs to.
-- Grain: one row per row of rel; group_id is NULL for an image without near duplicates.
-- Parameters: rel, neighbors (such as <run>_neighbors)
-- Edges: as duplicate_groups.
-- Source: definition; accuracy and mcnemar with groups := group_id say what near duplicates change
create or replace macro _duplicate_members(rel, neighbors) as table
select
    answers.image_id,
    answers.label,
    answers.pred,
    near.group_id,
from query_table(rel) as answers
left join duplicate_groups(neighbors) as near on answers.image_id = near.image_id;
