-- Where a run is better or worse than its baseline: recall of every class, its difference tested and corrected.
-- Grain: one row per class with images, smallest p-value first.
-- Parameters: rel, baseline, level := 0.95, is_right := null (as mcnemar)
-- Edges: images of both, as in paired; diff is run - baseline; intervals hold for one class, p_holm and p_bh for all.
-- Source: exact McNemar test per class; Holm (1979), Scand. J. Stat. 6:65-70; Benjamini & Hochberg (1995).
create or replace macro compare_classes(rel, baseline, level := 0.95, is_right := null) as table
with _classes as (
    select
        label as class,
        count(*) as n,
        count(*) filter (where correct_run) as right_run,
        count(*) filter (where correct_baseline) as right_baseline,
        count(*) filter (where correct_run and not correct_baseline) as run_only,
        count(*) filter (where correct_baseline and not correct_run) as baseline_only,
    from paired(rel, baseline, is_right := is_right)
    where label >= 0
    group by label
),

_tests as (
    select
        *,
        _sign_test(run_only, baseline_only) as p_value,
    from _classes
),

_ranked as (
    select
        *,
        row_number() over (order by p_value, class) as rank,
        count(*) over () as tests,
    from _tests
)

select
    class,
    n,
    right_run / nullif(n, 0) as recall_run,
    right_baseline / nullif(n, 0) as recall_baseline,
    (run_only - baseline_only) / nullif(n, 0) as diff,
    _paired_low(run_only, baseline_only, n, level) as ci_low,
    _paired_high(run_only, baseline_only, n, level) as ci_high,
    run_only,
    baseline_only,
    p_value,
    least(1e0, max(p_value * (tests - rank + 1)) over (order by rank rows unbounded preceding)) as p_holm,
    least(1e0, min(p_value * tests / rank) over (order by rank desc rows unbounded preceding)) as p_bh,
from _ranked
order by rank;
