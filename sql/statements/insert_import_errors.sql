-- Keep the rows of predictions that could not be used.
-- Grain: one row per such row.
-- Parameters: run, dataset
-- Edges: none
-- Source: this project
insert into errors (run, dataset, image_id, uri, sha256, stage, error, message)
select
    $run as run,
    $dataset as dataset,
    image_id,
    uri,
    sha256,
    'write' as stage,
    'SchemaError' as error,
    problem as message,
from _imported
where problem is not null;
