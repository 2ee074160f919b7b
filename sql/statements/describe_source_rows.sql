-- Columns of a source of predictions.
-- Grain: one row per column.
-- Parameters: none
-- Edges: none
-- Source: this project
select
    column_name,
    column_type,
from (describe source_rows);
