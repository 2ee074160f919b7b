-- Sums over groups of images whose own sums are known.
-- Grain: one row per run and slice.
-- Parameters: rel (a relation of run, slice, cluster, n, total, own_squares: those of the values of a group)
-- Edges: the images whose cluster is NULL are one row, and groups of their own; sizes = n: all groups are.
-- Source: Liang & Zeger (1986), Biometrika 73:13-22
create or replace macro _sums_of_groups(rel) as table
select
    run,
    slice,
    sum(n)::bigint as n,
    sum(case when cluster is null then n else 1 end)::bigint as n_groups,
    sum(case when cluster is null then own_squares else total * total end) as squares,
    sum(case when cluster is null then total else total * n end) as crossed,
    sum(case when cluster is null then n else n * n end) as sizes,
from query_table(rel)
group by run, slice;
