-- Attach the first header line of a file to the object it made.
-- Grain: no rows.
-- Parameters: kind, name, text
-- Edges: none
-- Source: this project
comment on {{ kind }} {{ ident(name) }} is {{ literal(text) }};
