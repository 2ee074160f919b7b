-- One row of NULLs of given types, to learn their Arrow types.
-- Grain: one row.
-- Parameters: columns (name, type)
-- Edges: none
-- Source: this project
select
{% for name, type in columns %}
    null::{{ type }} as {{ ident(name) }},
{% endfor %};
