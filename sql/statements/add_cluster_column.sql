-- Give the table of a run a column for the clusters, where its view reads them without a join.
-- Grain: no rows.
-- Parameters: run
-- Edges: none
-- Source: this project
alter table outputs.{{ ident(run) }} add column if not exists cluster integer;
