-- Give pending images the error of an image with the same bytes.
-- Grain: one row per pending image whose bytes failed.
-- Parameters: run
-- Edges: errors of reading a file are not shared: its twin may be readable.
-- Source: this project
insert into errors (run, dataset, image_id, uri, sha256, stage, error, message)
select
    failed.run,
    failed.dataset,
    _pending.image_id,
    images.uri,
    _pending.sha256,
    failed.stage,
    failed.error,
    failed.message,
from _pending
inner join images on _pending.image_id = images.image_id
inner join (
    select
        errors.run,
        errors.dataset,
        errors.sha256,
        any_value(errors.stage) as stage,
        any_value(errors.error) as error,
        any_value(errors.message) as message,
    from errors
    where errors.run = {{ literal(run) }}
        and errors.stage <> 'fetch'
    group by errors.run, errors.dataset, errors.sha256
) as failed on _pending.sha256 = failed.sha256;
