-- Images that both runs have answered, by who is right, with the design effect of groups on their difference.
-- Grain: one row.
-- Parameters: rel, baseline, is_right, groups := null (SQL over the columns of rel)
-- Edges: each image its own group: deff 1, df NULL; all in one group: deff and df NULL; deff is never below 1.
-- Source: _pair_deff; effective number of groups: _group_df
create or replace macro _pair_counts(rel, baseline, is_right := null, groups := null) as table
with _rows as (
    select
        true as run,
        true as slice,
        cluster,
        correct_run,
        correct_baseline,
        correct_run::integer - correct_baseline::integer as value,
    from _pairs(rel, baseline, is_right := is_right, groups := groups)
),

_counts as (
    select
        count(*) as n,
        count(*) filter (where correct_run and correct_baseline) as both_right,
        count(*) filter (where correct_run and not correct_baseline) as run_only,
        count(*) filter (where correct_baseline and not correct_run) as baseline_only,
        count(*) filter (where not correct_run and not correct_baseline) as both_wrong,
    from _rows
),

_sums as (
    select
        _counts.*,
        coalesce(_groups.n_groups, 0) as n_groups,
        _pair_deff(
            _counts.n, run_only - baseline_only, run_only + baseline_only, squares, crossed, sizes
        ) as deff,
        -- Each image its own group is no group: then the exact test holds as it is.
        case when sizes <> _counts.n then _group_df(_counts.n, sizes) end as df,
    from _counts
    left join _group_sums('_rows') as _groups on true
)

select
    n,
    both_right,
    run_only,
    baseline_only,
    both_wrong,
    n_groups,
    df,
    deff,
from _sums;
