-- Keep the predictions that have an image and a class.
-- Grain: one row per image.
-- Parameters: run, names
-- Edges: none
-- Source: this project
insert into outputs.{{ ident(run) }}
select
    image_id,
    sha256,
{% for name in names %}
    {{ ident(name) }},
{% endfor %}
from _imported
where problem is null;
