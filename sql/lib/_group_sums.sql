-- Sums over groups of images that depend on each other, such as those of a patient: for cluster-robust intervals.
-- Grain: one row per run and slice.
-- Parameters: rel (a relation of run, slice, cluster, value)
-- Edges: NULL values are left out; a row whose cluster is NULL is a group of its own; sizes = n: all groups are.
-- Source: _sums_of_groups
create or replace macro _group_sums(rel) as table
with _groups as ( -- noqa: ST03
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

from _sums_of_groups('_groups');
