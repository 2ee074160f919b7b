-- Is a run better than its baseline on the same images: a test that is valid after every block of images.
-- Grain: one row.
-- Parameters: rel, baseline (images in random order), level := 0.95, is_right := null (as mcnemar)
-- Edges: pairs as in paired; share_run: of the images that only one has right, those of the run; none: NULL and p 1.
-- Source: Robbins (1970), Ann. Math. Stat. 41:1397-1409: mixture of sign tests, Ville's inequality
create or replace macro mcnemar_anytime(rel, baseline, level := 0.95, is_right := null) as table
with _counts as (
    select
        count(*) as n,
        count(*) filter (where correct_run and not correct_baseline) as run_only,
        count(*) filter (where correct_baseline and not correct_run) as baseline_only,
        run_only + baseline_only as differing,
    from paired(rel, baseline, is_right := is_right)
)

select
    n,
    run_only,
    baseline_only,
    (run_only - baseline_only) / nullif(n, 0) as diff,
    run_only / nullif(differing, 0) as share_run,
    _anytime_low(run_only, differing, level) as share_low,
    _anytime_high(run_only, differing, level) as share_high,
    least(
        1, exp(lgamma(differing + 2) - lgamma(baseline_only + 1) - lgamma(run_only + 1) - differing * ln(2))
    ) as p_value,
from _counts;
