-- Give pending images the output of an image with the same bytes.
-- Grain: one row per pending image whose bytes were answered.
-- Parameters: run, names
-- Edges: nothing is computed twice.
-- Source: this project
insert into outputs.{{ ident(run) }} (
    image_id,
    sha256{% for name in names %},
    {{ ident(name) }}{% endfor %}

)
with _by_bytes as (
    select
        sha256,
{% for name in names %}
        any_value({{ ident(name) }}) as {{ ident(name) }},
{% endfor %}
    from outputs.{{ ident(run) }}
    where sha256 in (select _pending.sha256 from _pending)
    group by sha256
)

select
    _pending.image_id,
    _pending.sha256,
{% for name in names %}
    _by_bytes.{{ ident(name) }},
{% endfor %}
from _pending
inner join _by_bytes on _pending.sha256 = _by_bytes.sha256;
