-- Drop the view of a run.
-- Grain: no rows.
-- Parameters: run
-- Edges: none
-- Source: this project
drop view if exists {{ ident(run) }};
