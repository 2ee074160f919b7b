-- The rows of _rel, or an error if an image occurs more than once in a run: what intervals and tests read.
-- Grain: one row per row of the relations.
-- Parameters: rel
-- Edges: as _repeats; macros that group by run call _once themselves and so read the relation only once.
-- Source: definition
create or replace macro _images(rel) as table
from query(_rel(rel))
where (select coalesce(bool_and(_once(run, n_ids, n_images)), true) from _repeats(rel));
