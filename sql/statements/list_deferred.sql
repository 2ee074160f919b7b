-- Deferred columns that this file knows of.
-- Grain: one row per column.
-- Parameters: none
-- Edges: none
-- Source: this project
select
    name,
    of,
    type,
    source,
from deferred_columns
order by created_at, name;
