-- The newest finished run that has predictions.
-- Grain: one row or none.
-- Parameters: $baseline, a run that is not meant, or NULL
-- Edges: what map_batches made may have no predictions.
-- Source: this project
select runs.run
from runs
inner join duckdb_columns() as columns
    on runs.run = columns.table_name
    and columns.database_name = current_database()
    and columns.schema_name = 'outputs'
    and columns.column_name in ('pred', 'confidence')
where runs.status = 'finished'
    and runs.run is distinct from $baseline
group by runs.run, runs.finished_at, runs.started_at
having count(*) = 2
order by coalesce(runs.finished_at, runs.started_at) desc, runs.started_at desc, runs.run
limit 1;
