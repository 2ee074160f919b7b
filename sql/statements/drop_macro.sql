-- Drop one macro.
-- Grain: no rows.
-- Parameters: name, table
-- Edges: none
-- Source: this project
drop macro {% if table %}table {% endif %}{{ ident(name) }};
