-- Images that two runs have answered, by who is right, with the design effect of groups on the difference.
-- Grain: one row per run and slice.
-- Parameters: rel (a relation of run, slice, cluster, correct_run, correct_baseline)
-- Edges: each image its own group: deff 1, df NULL; all in one group: deff and df NULL; deff is never below 1.
-- Source: _pair_deff; effective number of groups: _group_df
create or replace macro _pair_sums(rel) as table
with _differences as (
    select
        run,
        slice,
        cluster,
        correct_run,
        correct_baseline,
        correct_run::integer - correct_baseline::integer as value,
    from query_table(rel)
),

_counts as (
    select
        run,
        slice,
        count(*) as n,
        count(*) filter (where correct_run and correct_baseline) as both_right,
        count(*) filter (where correct_run and not correct_baseline) as run_only,
        count(*) filter (where correct_baseline and not correct_run) as baseline_only,
        count(*) filter (where not correct_run and not correct_baseline) as both_wrong,
    from _differences
    group by run, slice
),

_sums as (
    select
        _counts.*,
        _groups.n_groups,
        _pair_deff(
            _counts.n, run_only - baseline_only, run_only + baseline_only, squares, crossed, sizes
        ) as deff,
        -- Each image its own group is no group: then the exact test holds as it is.
        case when sizes <> _counts.n then _group_df(_counts.n, sizes) end as df,
    from _counts
    inner join _group_sums('_differences') as _groups
        on _counts.run = _groups.run
        and _counts.slice = _groups.slice
)

select
    run,
    slice,
    n,
    both_right,
    run_only,
    baseline_only,
    both_wrong,
    n_groups,
    df,
    deff,
from _sums;
