-- The difference of two runs on the same images, with its interval and p: what mcnemar and verdict share.
-- Grain: one row.
-- Parameters: rel (a relation as _pair_cells), level
-- Edges: as mcnemar; the columns of _cell_counts and diff, p_exact, ci_low, ci_high.
-- Source: _pair_p, _pair_low
create or replace macro _pair_tests(rel, level) as table
with _counts as (
    select
        *,
        _pair_p(run_only, baseline_only, n, deff, df) as p_exact,
    from _cell_counts(rel)
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
    p_exact,
    (run_only - baseline_only) / nullif(n, 0) as diff,
    _pair_low(run_only, baseline_only, n, deff, df, p_exact, level) as ci_low,
    0 - _pair_low(baseline_only, run_only, n, deff, df, p_exact, level) as ci_high,
from _counts;
