-- The rows of _one_run, or an error if an image occurs more than once: what paired tests read.
-- Grain: one row per row of the relation.
-- Parameters: rel
-- Edges: every row with an image_id is checked: joined to another relation, each would pair with all of the other's.
-- Source: definition
create or replace macro _one_run_once(rel) as table
from query(_rel(rel))
where _is_empty is null
    and (
        select _same_run(min(run), max(run)) and _once(max(run), count(image_id), count(distinct image_id))
        from query(_rel(rel))
    );
