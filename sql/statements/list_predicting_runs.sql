-- Runs whose table has predictions with a confidence.
-- Grain: one row per run, oldest first.
-- Parameters: none
-- Edges: results of other functions have no row.
-- Source: this project
select runs.run
from runs
inner join duckdb_columns() as columns
    on runs.run = columns.table_name
    and columns.database_name = current_database()
    and columns.schema_name = 'outputs'
    and columns.column_name in ('pred', 'confidence')
group by runs.run, runs.started_at
having count(*) = 2
order by runs.started_at, runs.run;
