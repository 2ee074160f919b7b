-- Inconsistencies in this file; empty if there are none.
-- Grain: one row per kind of problem and object.
-- Parameters: none
-- Edges: tables have no foreign keys, which would block drops; this view checks them.
-- Source: this project
create or replace view check_database as
with _problems as (
    select 'image without its data set' as problem, dataset as object, count(*) as n
    from images
    where dataset not in (select datasets.dataset from datasets)
    group by dataset
    union all
    select 'label outside the label space' as problem, images.dataset as object, count(*) as n
    from images
    inner join datasets on images.dataset = datasets.dataset
    left join classes on datasets.label_space = classes.label_space and images.label = classes.class
    where images.label is not null and classes.class is null
    group by images.dataset
    union all
    select 'bytes without an image' as problem, 'image_bytes' as object, count(*) as n
    from image_bytes
    where image_id not in (select images.image_id from images)
    union all
    select 'label change without its image' as problem, 'label_changes' as object, count(*) as n
    from label_changes
    where image_id not in (select images.image_id from images)
    union all
    select 'same data set and uri twice' as problem, dataset as object, count(*) - count(distinct uri) as n
    from images
    group by dataset
    union all
    select 'same bytes with two labels' as problem, sha256 as object, n
    from duplicates
    where labels_differ
    union all
    select 'same bytes in two splits' as problem, sha256 as object, n
    from duplicates
    where splits_differ
    union all
    select problem, object, n
    from run_problems
)

select
    problem,
    object,
    n,
from _problems
where n > 0;
