-- Call one metric of the catalogue.
-- Grain: that of the metric.
-- Parameters: 1 relation, then every value that is not SQL text; name, values (parameter → SQL text, or none if bound)
-- Edges: SQL text was parsed as one expression before it gets here; it ends with its line, so a comment ends too.
-- Source: this project
from {{ ident(name) }}(
    ?{% for parameter, text in values.items() %},
    {{ ident(parameter) }} := {% if text is none %}?{% else %}{{ text }}{% endif %}
{% endfor %}

);
