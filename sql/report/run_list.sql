-- Every run of this file with its state, newest first.
-- Grain: one row per run.
-- Parameters: none
-- Edges: a run that never finished sorts by when it started; what map_batches made may have no predictions.
-- Source: this project
select
    run,
    status,
    dataset,
    model,
    run in (
        select table_name
        from duckdb_columns()
        where database_name = current_database()
            and schema_name = 'outputs'
            and column_name in ('pred', 'confidence')
        group by table_name
        having count(*) = 2
    ) as has_predictions,
from runs
order by coalesce(finished_at, started_at) desc, started_at desc, run;
