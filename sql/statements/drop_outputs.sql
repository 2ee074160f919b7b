-- Drop the outputs of a run.
-- Grain: no rows.
-- Parameters: kind (table, or view of a run made of others), run
-- Edges: none
-- Source: this project
drop {{ kind }} outputs.{{ ident(run) }};
