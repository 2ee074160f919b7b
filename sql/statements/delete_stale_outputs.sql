-- Drop outputs of images whose bytes have changed since.
-- Grain: one row per changed image.
-- Parameters: run
-- Edges: none
-- Source: this project
delete from outputs.{{ ident(run) }}
where image_id in (select _pending.image_id from _pending);
