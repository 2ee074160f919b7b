-- Images that both runs have answered, by who is right, with the design effect of groups on their difference.
-- Grain: one row.
-- Parameters: rel (a relation as _pair_cells)
-- Edges: as _pair_sums; without images all counts are 0 and deff is 1.
-- Source: _pair_sums
create or replace macro _cell_counts(rel) as table
with _rows as ( -- noqa: ST03
    select
        true as run,
        true as slice,
        cluster,
        correct_run,
        correct_baseline,
        n,
    from query_table(rel)
)

select
    coalesce(n, 0) as n,
    coalesce(both_right, 0) as both_right,
    coalesce(run_only, 0) as run_only,
    coalesce(baseline_only, 0) as baseline_only,
    coalesce(both_wrong, 0) as both_wrong,
    coalesce(n_groups, 0) as n_groups,
    df,
    case when n is null then 1e0 else deff end as deff,
from (select true as run) as _one
left join _pair_sums('_rows') as _sums on _one.run = _sums.run;
