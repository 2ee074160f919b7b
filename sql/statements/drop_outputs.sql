-- Drop the table of a run.
-- Grain: no rows.
-- Parameters: run
-- Edges: none
-- Source: this project
drop table outputs.{{ ident(run) }};
