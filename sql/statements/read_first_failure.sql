-- The first image of a block that failed.
-- Grain: one row or none.
-- Parameters: none
-- Edges: bytes other than those that were added are a fetch error.
-- Source: this project
select
    image_id,
    uri,
    coalesce(answer.error.stage, 'fetch') as stage,
    coalesce(answer.error.error, 'ChangedImage') as error,
    coalesce(answer.error.message, 'the file has other bytes than when it was added; add the images again') as message,
from _answers
where answer.error is not null
    or answer.sha256 <> sha256
order by image_id
limit 1;
