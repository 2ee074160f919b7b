-- Call one metric of two runs on what was read of them, under their own names.
-- Grain: that of the metric.
-- Parameters: name, tables (run → what was read of it), values (names of bound parameters)
-- Edges: none
-- Source: this project
with
{% for run, table in tables.items() %}
{{ ident(run) }} as ( -- noqa: ST03
    from {{ ident(table) }}
){{ "," if not loop.last }}

{% endfor %}
from {{ ident(name) }}(
{% for run in tables %}
    {{ literal(run) }}{{ "," if not loop.last or values }}
{% endfor %}
{% for value in values %}
    {{ ident(value) }} := ?{{ "," if not loop.last }}
{% endfor %}
);
