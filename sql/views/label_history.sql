-- Labels that somebody has looked at, with names: what was changed or confirmed, when, and from which file.
-- Grain: one row per image and review, newest first.
-- Parameters: none
-- Edges: is_current: the newest review of the image, if it still has the bytes that were seen and the label given then.
-- Source: tables label_changes, images, datasets, classes
create or replace view label_history as
with _reviews as (
    select
        *,
        row_number() over (partition by image_id order by applied_at desc, reviewed_at desc nulls last) as nth,
    from label_changes
)

select
    _reviews.image_id,
    images.dataset,
    images.uri,
    _reviews.review,
    old_classes.name as old_label_name,
    new_classes.name as new_label_name,
    _reviews.reviewed_at,
    _reviews.applied_at,
    _reviews.source,
    (
        _reviews.nth = 1
        and _reviews.sha256 = images.sha256
        and (_reviews.new_label is not distinct from images.label)
    ) as is_current,
from _reviews
inner join images on _reviews.image_id = images.image_id
inner join datasets on images.dataset = datasets.dataset
left join classes as old_classes
    on datasets.label_space = old_classes.label_space
    and _reviews.old_label = old_classes.class
left join classes as new_classes
    on datasets.label_space = new_classes.label_space
    and _reviews.new_label = new_classes.class
order by _reviews.applied_at desc, _reviews.image_id asc;
