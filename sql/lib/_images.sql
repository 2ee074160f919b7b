-- The rows of _rel, or an error if an image occurs more than once in a run: what intervals and tests read.
-- Grain: one row per row of the relations.
-- Parameters: rel
-- Edges: only rows with label and pred are checked, since only they count; without an image_id nothing is.
-- Source: definition; macros that group by run call _once themselves and so read the relation only once
create or replace macro _images(rel) as table
with _checks as (
    select
        run,
        count(image_id) as n_ids,
        count(distinct image_id) as n_images,
    from query(_rel(rel))
    where label is not null
        and pred is not null
    group by run
)

from query(_rel(rel))
where (select coalesce(bool_and(_once(run, n_ids, n_images)), true) from _checks);
