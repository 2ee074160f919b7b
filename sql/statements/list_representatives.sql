-- One pending image for every distinct content that has no output yet.
-- Grain: one row per content, in image order.
-- Parameters: run
-- Edges: none
-- Source: this project
select
    min(image_id) as image_id,
    any_value(n_bytes) as n_bytes,
from pending
where sha256 not in (select done.sha256 from outputs.{{ ident(run) }} as done)
group by sha256
order by image_id;
