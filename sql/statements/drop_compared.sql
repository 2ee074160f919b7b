-- Forget what was read of one run for a comparison.
-- Grain: no rows.
-- Parameters: name (of the temporary table)
-- Edges: none
-- Source: this project
drop table if exists temp.{{ ident(name) }};
