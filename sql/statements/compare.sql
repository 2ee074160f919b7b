-- Call one metric of two runs on what was read of them, under their own names.
-- Grain: that of the metric.
-- Parameters: name, runs (run → temporary table), values (parameter → bound value)
-- Edges: none
-- Source: this project
with
{% for run, table in runs.items() %}
{{ ident(run) }} as (
    from {{ ident(table) }}
){{ "," if not loop.last }}
{% endfor %}

from {{ ident(name) }}(
{% for run in runs %}
    {{ literal(run) }}{{ "," if not loop.last or values }}
{% endfor %}
{% for value in values %}
    {{ ident(value) }} := ?{{ "," if not loop.last }}
{% endfor %}
);
