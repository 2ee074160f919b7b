-- Read a file or table of predictions under one name.
-- Grain: one row per row of the source.
-- Parameters: kind (csv, parquet, json or table), source
-- Edges: none
-- Source: this project
create or replace temp view source_rows as
{% if kind == 'table' %}
from {{ ident(source) }};
{% else %}
from read_{{ kind }}({{ literal(source) }});
{% endif %}
