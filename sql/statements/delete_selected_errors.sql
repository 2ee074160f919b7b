-- Drop errors of a run about the selected images, to try them again.
-- Grain: one row per error.
-- Parameters: run
-- Edges: errors of other images stay.
-- Source: this project
delete from errors
where run = {{ literal(run) }}
    and image_id in (select _selected.image_id from _selected);
