-- Drop errors of a run about images whose bytes have changed since.
-- Grain: one row per changed image.
-- Parameters: run
-- Edges: none
-- Source: this project
delete from errors
where run = {{ literal(run) }}
    and image_id in (select _pending.image_id from _pending);
