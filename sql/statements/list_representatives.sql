-- Pending images to compute: one for every distinct content without an output, or all of them.
-- Grain: one row per content (shared) or per image, in image order.
-- Parameters: run, shared
-- Edges: none
-- Source: this project
select
    min(_pending.image_id) as image_id,
    any_value(n_bytes) as n_bytes,
from _pending
{% if shared %}
where sha256 not in (select done.sha256 from outputs.{{ ident(run) }} as done)
group by sha256
{% else %}
group by _pending.image_id
{% endif %}
order by image_id;
