-- Images with the same bytes in one data set, and whether their labels or splits contradict.
-- Grain: one row per data set and sha256 that several images share, contradictions first.
-- Parameters: none
-- Edges: NULL is not a label and not a split; images that only look the same: near_duplicates and leaks.
-- Source: this project
create or replace view duplicates as
-- Counted first, as nearly all images are the only one of their bytes and need no lists.
with _shared as materialized (
    select
        dataset,
        sha256,
    from images
    group by dataset, sha256
    having count(*) > 1
)

select
    images.dataset,
    images.sha256,
    count(*) as n,
    list(image_id order by image_id) as image_ids,
    list(distinct label order by label) filter (where label is not null) as labels,
    list(distinct split order by split) filter (where split is not null) as splits,
    count(distinct label) > 1 as labels_differ,
    count(distinct split) > 1 as splits_differ,
from images
inner join _shared
    on images.dataset = _shared.dataset
    and images.sha256 = _shared.sha256
group by images.dataset, images.sha256
order by labels_differ desc, splits_differ desc, images.dataset asc, images.sha256 asc;
