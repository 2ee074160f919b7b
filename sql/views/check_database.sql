-- What does not fit together in this file; empty when all is well.
-- Grain: one row per kind of problem and object.
-- Parameters: none
-- Edges: there are no foreign keys, so this view is where they are checked.
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
    left join classes on datasets.space = classes.space and images.label = classes.class
    where images.label is not null and classes.class is null
    group by images.dataset
    union all
    select 'bytes without an image' as problem, 'image_bytes' as object, count(*) as n
    from image_bytes
    where image_id not in (select images.image_id from images)
    union all
    select 'same data set and uri twice' as problem, dataset as object, count(*) - count(distinct uri) as n
    from images
    group by dataset
    union all
    select 'same bytes with two labels' as problem, sha256 as object, count(*) as n
    from images group by dataset, sha256 having count(distinct label) > 1
    union all
    select 'same bytes in two splits' as problem, sha256 as object, count(*) as n
    from images group by dataset, sha256 having count(distinct split) > 1
    union all
    select 'run without its table' as problem, run as object, 1 as n
    from runs
    where run not in (
        select table_name from information_schema.tables
        where table_schema = 'outputs' and table_catalog = current_database()
    )
    union all
    select distinct 'run made of a run that is gone' as problem, made.run as object, 1 as n
    from (select runs.run, unnest(runs.members ->> '$[*].run') as member from runs) as made
    where made.member not in (select runs.run from runs)
    union all
    select 'finished run that lacks images' as problem, run as object, n_images - n_ok - n_errors as n
    from runs
    where status = 'finished' and n_images <> n_ok + n_errors
    union all
    select 'outputs of other bytes than the images have now' as problem, runs.run as object, runs.n_ok - shown.n as n
    from runs
    inner join (select run, count(*) as n from predictions group by run) as shown on runs.run = shown.run
    where runs.n_ok > shown.n
    union all
    select 'run in another label space than its data set' as problem, runs.run as object, 1 as n
    from runs
    inner join datasets on runs.dataset = datasets.dataset
    where runs.output_space <> datasets.space
    union all
    select 'projection without its run' as problem, projection as object, count(*) as n
    from projections
    where run not in (select runs.run from runs)
    group by projection
    union all
    select 'clustering without its run' as problem, clustering as object, count(*) as n
    from clusters
    where run not in (select runs.run from runs)
    group by clustering
    union all
    select 'neighbours of other images than the run has', runs.run, abs(runs.n_ok - specs.n_images - specs.n_left_out)
    from runs
    inner join neighbour_specs as specs on runs.run = specs.run
)

select
    problem,
    object,
    n,
from _problems
where n > 0;
