-- Write down which entries could not be read.
-- Grain: one row per unreadable entry.
-- Parameters: 1 data set
-- Edges: run is NULL; image_id is that of an image whose file has become unreadable.
-- Source: this project
insert into errors (run, dataset, image_id, uri, stage, error, message)
select
    null as run,
    parameters.dataset,
    images.image_id,
    scanned.uri,
    'fetch' as stage,
    'ImageError' as error,
    scanned.message,
from scanned
cross join (select ? as dataset) as parameters
left join images on scanned.uri = images.uri and parameters.dataset = images.dataset
where scanned.message is not null;
