-- The rows of _rel, or an error if they are of several runs: what macros read that join two relations.
-- Grain: one row per row of the relation.
-- Parameters: rel
-- Edges: a list of one name is one relation; a relation with a column run must hold one run.
-- Source: definition
create or replace macro _one_run(rel) as table
from query(_rel(rel))
where _is_empty is null
    and (select _same_run(min(run), max(run)) from query(_rel(rel)));
