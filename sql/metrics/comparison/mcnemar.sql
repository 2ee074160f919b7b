-- Is a run better than its baseline on the same images: McNemar's tests and an interval of the difference.
-- Grain: one row.
-- Parameters: rel, baseline, level := 0.95, is_right := null (what is right, such as list_contains(accepted, pred))
-- Edges: images of both, as in paired; the interval includes 0 when p_exact > 1 - level; no difference gives p = 1.
-- Source: McNemar (1947), Psychometrika 12:153-157 (chi2 with correction); Agresti & Min (2005), Stat. Med. 24:729-740.
create or replace macro mcnemar(rel, baseline, level := 0.95, is_right := null) as table
with _counts as (
    select
        count(*) as n,
        count(*) filter (where correct_run and correct_baseline) as both_right,
        count(*) filter (where correct_run and not correct_baseline) as run_only,
        count(*) filter (where correct_baseline and not correct_run) as baseline_only,
        count(*) filter (where not correct_run and not correct_baseline) as both_wrong,
    from paired(rel, baseline, is_right := is_right)
),

_tests as (
    select
        *,
        _sign_test(run_only, baseline_only) as p_exact,
    from _counts
)

select
    n,
    both_right,
    run_only,
    baseline_only,
    both_wrong,
    (both_right + run_only) / nullif(n, 0) as accuracy_run,
    (both_right + baseline_only) / nullif(n, 0) as accuracy_baseline,
    (run_only - baseline_only) / nullif(n, 0) as diff,
    _paired_low(run_only, baseline_only, n, level) as ci_low,
    _paired_high(run_only, baseline_only, n, level) as ci_high,
    p_exact,
    case
        when run_only = baseline_only then 1e0
        else p_exact - exp(_binom_logpmf(least(run_only, baseline_only), run_only + baseline_only, 0.5e0))
    end as p_mid,
    coalesce(_chi2_sf_1df((abs(run_only - baseline_only) - 1) ** 2 / nullif(run_only + baseline_only, 0)), 1) as p_chi2,
from _tests;
