-- Near duplicates in different splits, such as test images that are almost in the training set.
-- Grain: one row per pair, nearest first; image_a < image_b.
-- Parameters: rel (image_id, split, label), neighbors (<run>_neighbors), max_distance := null (as near_duplicates)
-- Edges: images without a split are left out; equal bytes are found without neighbors, by the view duplicates.
-- Source: Barz & Denzler (2020), Do We Train on Test Data? Purging CIFAR of Near-Duplicates, J. Imaging 6:41
create or replace macro leaks(rel, neighbors, max_distance := null) as table
with _pairs as (
    select
        image_a,
        image_b,
        distance,
    from near_duplicates(neighbors, max_distance := max_distance)
    where (select bool_and(run is not null) from _one_run(neighbors))
),

_images as (
    select
        image_id,
        split,
        label,
        label_name,
        uri,
    from _one_run_once(rel)
)

select
    _pairs.image_a,
    _pairs.image_b,
    _a.split as split_a,
    _b.split as split_b,
    _a.label as label_a,
    _b.label as label_b,
    _pairs.distance,
    _a.label_name as label_name_a,
    _b.label_name as label_name_b,
    _a.uri as uri_a,
    _b.uri as uri_b,
from _pairs
inner join _images as _a on _pairs.image_a = _a.image_id
inner join _images as _b on _pairs.image_b = _b.image_id
where _a.split <> _b.split
order by _pairs.distance, _pairs.image_a, _pairs.image_b;
