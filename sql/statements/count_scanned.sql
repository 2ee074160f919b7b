-- How many scanned entries are new, changed, known and unreadable.
-- Grain: one row.
-- Parameters: 1 data set
-- Edges: changed means other bytes, label, accepted, split or meta under a known uri, as in update_images.
-- Source: this project
with _compared as (
    select
        scanned.message is not null as is_error,
        images.uri is null as is_new,
        (
            images.sha256 <> scanned.sha256
            or images.label is distinct from coalesce(scanned.label, images.label)
            or images.accepted is distinct from coalesce(scanned.accepted, images.accepted)
            or images.split is distinct from coalesce(scanned.split, images.split)
            or images.meta is distinct from coalesce(scanned.meta, images.meta)
        ) as differs,
    from scanned
    left join images on scanned.uri = images.uri and images.dataset = ?
)

select
    count(*) filter (where not is_error and is_new) as n_added,
    count(*) filter (where not is_error and not is_new and differs) as n_changed,
    count(*) filter (where not is_error and not is_new and not differs) as n_unchanged,
    count(*) filter (where is_error) as n_errors,
from _compared;
