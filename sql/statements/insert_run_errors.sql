-- Keep the errors of a block.
-- Grain: one row per image that failed.
-- Parameters: 1 run
-- Edges: bytes other than those that were added are a fetch error.
-- Source: this project
insert into errors (run, dataset, image_id, uri, sha256, stage, error, message)
select
    ? as run,
    dataset,
    image_id,
    uri,
    sha256,
    coalesce(answer.error.stage, 'fetch') as stage,
    coalesce(answer.error.error, 'ChangedImage') as error,
    coalesce(answer.error.message, 'the file has other bytes than when it was added; add the images again') as message,
from _answers
where answer.error is not null
    or answer.sha256 <> sha256;
