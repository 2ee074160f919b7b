-- What a comparison reads of one run, read once.
-- Grain: one row per image with an output.
-- Parameters: run, name (of the temporary table)
-- Edges: none
-- Source: this project
create or replace temp table {{ ident(name) }} as
select
    image_id,
    label,
    pred,
    confidence,
from {{ ident(run) }};
