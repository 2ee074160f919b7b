-- Selected images that a run has not answered yet.
-- Grain: one row per pending image.
-- Parameters: run
-- Edges: an image whose bytes changed since its output or error is pending again.
-- Source: this project
create or replace temp table _pending as
select
    _selected.image_id,
    _selected.sha256,
    _selected.n_bytes,
from _selected
anti join outputs.{{ ident(run) }} as done
    on _selected.image_id = done.image_id and _selected.sha256 = done.sha256
anti join (select errors.image_id, errors.sha256 from errors where errors.run = {{ literal(run) }}) as failed
    on _selected.image_id = failed.image_id and _selected.sha256 = failed.sha256;
