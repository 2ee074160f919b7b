-- Keep the answers of a block.
-- Grain: one row per image answered without an error.
-- Parameters: run, names
-- Edges: bytes other than those that were added are an error.
-- Source: this project
insert into outputs.{{ ident(run) }} (
    image_id,
    sha256{% for name in names %},
    {{ ident(name) }}{% endfor %}

)
select
    image_id,
    sha256,
{% for name in names %}
    answer.{{ ident(name) }},
{% endfor %}
from _answers
where answer.error is null
    and answer.sha256 = sha256;
