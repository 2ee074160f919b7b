-- How many rows of each run have an image_id, and how many different ones there are: what _once compares.
-- Grain: one row per run.
-- Parameters: rel
-- Edges: only rows with label and pred, since only they count.
-- Source: definition
create or replace macro _repeats(rel) as table
select
    run,
    count(image_id) as n_ids,
    count(distinct image_id) as n_images,
from query(_rel(rel))
where label is not null
    and pred is not null
group by run;
