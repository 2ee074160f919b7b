-- Which columns the view of a run has; a run added without probabilities has no `probs`.
-- Grain: one row per column.
-- Parameters: run
-- Edges: no rows when the view is missing.
-- Source: duckdb_columns()
select column_name as name
from duckdb_columns()
where database_name = current_database()
    and schema_name = 'main'
    and table_name = {{ literal(run) }};
