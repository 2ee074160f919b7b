-- Inconsistencies of runs; part of check_database.
-- Grain: one row per kind of problem and object.
-- Parameters: none
-- Edges: a row whose n is 0 or less is not a problem; check_database leaves them out.
-- Source: this project
create or replace view run_problems as
with _problems as (
    select 'run without its table' as problem, run as object, 1 as n
    from runs
    where run not in (
        select table_name from information_schema.tables
        where table_schema = 'outputs' and table_catalog = current_database()
    )
    union all
    select distinct 'derived run without one of its members' as problem, derived.run as object, 1 as n
    from (select runs.run, unnest(runs.members ->> '$[*].run') as member from runs) as derived
    where derived.member not in (select runs.run from runs)
    union all
    select 'finished run that lacks images' as problem, run as object, n_images - n_ok - n_errors as n
    from runs
    where status = 'finished' and n_images <> n_ok + n_errors
    union all
    select 'outputs for image bytes that have changed since' as problem, runs.run as object, runs.n_ok - shown.n as n
    from runs
    inner join (
        select
            predictions.run,
            count(*) as n,
        from predictions
        group by predictions.run
    ) as shown on runs.run = shown.run
    where runs.n_ok > shown.n
    union all
    select 'run in another label space than its data set' as problem, runs.run as object, 1 as n
    from runs
    inner join datasets on runs.dataset = datasets.dataset
    where runs.label_space <> datasets.label_space
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
    select
        'neighbors of other images than the run has' as problem,
        runs.run as object,
        abs(runs.n_ok - specs.n_images - specs.n_left_out) as n,
    from runs
    inner join neighbor_specs as specs on runs.run = specs.run
)

select
    problem,
    object,
    n,
from _problems;
