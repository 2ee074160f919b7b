-- Forget earlier errors of reading the images of a block.
-- Grain: one row per error.
-- Parameters: none
-- Edges: errors of runs stay.
-- Source: this project
delete from errors
where run is null
    and image_id in (select _answers.image_id from _answers);
