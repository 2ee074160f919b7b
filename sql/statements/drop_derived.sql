-- Drop the outputs of a run that is made of others.
-- Grain: no rows.
-- Parameters: run
-- Edges: none
-- Source: this project
drop view outputs.{{ ident(run) }};
