-- Is a run better than its baseline on the same images: McNemar's tests and an interval of the difference.
-- Grain: one row.
-- Parameters: rel, baseline, level := 0.95, is_right := null (what is right), groups := null (p_exact by t test)
-- Edges: images of both, as in paired; ci includes 0 if p_exact > 1 - level; equal: p = 1; groups: p_mid, p_chi2 NULL.
-- Source: McNemar (1947), Psychometrika 12:153-157 (chi2 with correction); Agresti & Min (2005); groups: _pair_counts
create or replace macro mcnemar(rel, baseline, level := 0.95, is_right := null, groups := null) as table
with _cells as materialized ( -- noqa: ST03
    from _pair_cells(rel, baseline, is_right := is_right, groups := groups)
)

select
    n,
    both_right,
    run_only,
    baseline_only,
    both_wrong,
    (both_right + run_only) / nullif(n, 0) as accuracy_run,
    (both_right + baseline_only) / nullif(n, 0) as accuracy_baseline,
    diff,
    ci_low,
    ci_high,
    p_exact,
    -- These two count images as if none belonged together.
    case
        when n_groups < n then null
        when run_only = baseline_only then 1e0
        else p_exact - exp(_binom_logpmf(least(run_only, baseline_only), run_only + baseline_only, 0.5e0))
    end as p_mid,
    case
        when n_groups < n then null
        else coalesce(_chi2_sf_1df((abs(run_only - baseline_only) - 1) ** 2 / nullif(run_only + baseline_only, 0)), 1)
    end as p_chi2,
from _pair_tests('_cells', level);
