-- Images that two runs have answered, by who is right, with the design effect of groups on the difference.
-- Grain: one row per run and slice.
-- Parameters: rel (a relation of run, slice, cluster, correct_run, correct_baseline, n: as many images)
-- Edges: each image its own group: deff 1, df NULL; all in one group: deff and df NULL; deff is never below 1.
-- Source: _pair_deff; effective number of groups: _group_df
create or replace macro _pair_sums(rel) as table
with _counts as (
    select
        run,
        slice,
        cluster,
        sum(n) as n,
        coalesce(sum(n) filter (where correct_run and correct_baseline), 0) as both_right,
        coalesce(sum(n) filter (where correct_run and not correct_baseline), 0) as run_only,
        coalesce(sum(n) filter (where correct_baseline and not correct_run), 0) as baseline_only,
        coalesce(sum(n) filter (where not correct_run and not correct_baseline), 0) as both_wrong,
    from query_table(rel)
    group by run, slice, cluster
),

-- The difference of an image is 1, 0 or -1.
_differences as ( -- noqa: ST03
    select
        run,
        slice,
        cluster,
        n::double as n,
        (run_only - baseline_only)::double as total,
        (run_only + baseline_only)::double as own_squares,
    from _counts
),

_whole as (
    select
        run,
        slice,
        sum(n)::bigint as n,
        sum(both_right)::bigint as both_right,
        sum(run_only)::bigint as run_only,
        sum(baseline_only)::bigint as baseline_only,
        sum(both_wrong)::bigint as both_wrong,
    from _counts
    group by run, slice
)

select
    _whole.run,
    _whole.slice,
    _whole.n,
    both_right,
    run_only,
    baseline_only,
    both_wrong,
    n_groups,
    -- Each image its own group is no group: then the exact test holds as it is.
    case when sizes <> _whole.n then _group_df(_whole.n, sizes) end as df,
    _pair_deff(_whole.n, run_only - baseline_only, run_only + baseline_only, squares, crossed, sizes) as deff,
from _whole
inner join _sums_of_groups('_differences') as _groups
    on _whole.run = _groups.run
    and _whole.slice = _groups.slice;
