-- The columns of whatever a metric can be called on, and no rows.
-- Grain: no rows.
-- Parameters: 1 relation, or a list of them
-- Edges: none
-- Source: this project
from query_table(?)
limit 0;
