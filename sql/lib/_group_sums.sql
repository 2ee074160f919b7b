-- Sums over groups of images that depend on each other, such as those of a patient: for cluster-robust intervals.
-- Grain: one row per run and slice.
-- Parameters: rel (a relation of run, slice, cluster, value)
-- Edges: NULL values are left out; a row whose cluster is NULL is a group of its own; sizes = n: all groups are.
-- Source: Liang & Zeger (1986), Biometrika 73:13-22
create or replace macro _group_sums(rel) as table
with _groups as (
    select
        run,
        slice,
        cluster,
        count(*)::double as n,
        sum(value)::double as total,
        sum(value * value)::double as own_squares,
    from query_table(rel)
    where value is not null
    group by run, slice, cluster
)

select
    run,
    slice,
    sum(n)::bigint as n,
    sum(case when cluster is null then n else 1 end)::bigint as n_groups,
    sum(case when cluster is null then own_squares else total * total end) as squares,
    sum(case when cluster is null then total else total * n end) as crossed,
    sum(case when cluster is null then n else n * n end) as sizes,
from _groups
group by run, slice;
