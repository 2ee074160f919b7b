-- Where a run is better or worse than its baseline: recall of every class, its difference tested and corrected.
-- Grain: one row per class with images, smallest p-value first.
-- Parameters: rel, baseline, level := 0.95, is_right := null, groups := null (both as mcnemar)
-- Edges: images of both, as in paired; intervals hold for one class, p_holm and p_bh for all; one group: NULL, no test.
-- Source: exact McNemar test per class; Holm (1979), Scand. J. Stat. 6:65-70; Benjamini & Hochberg (1995).
create or replace macro compare_classes(rel, baseline, level := 0.95, is_right := null, groups := null) as table
with _rows as ( -- noqa: ST03
    select
        true as run,
        label as slice,
        cluster,
        correct_run,
        correct_baseline,
        n,
    from _pair_cells(rel, baseline, is_right := is_right, groups := groups)
    where label >= 0
),

_tests as (
    select
        *,
        _pair_p(run_only, baseline_only, n, deff, df) as p_value,
    from _pair_sums('_rows')
),

_ranked as (
    select
        *,
        row_number() over (order by p_value nulls last, slice) as rank,
        count(p_value) over () as tests,
    from _tests
)

select
    slice as class,
    n,
    (both_right + run_only) / nullif(n, 0) as recall_run,
    (both_right + baseline_only) / nullif(n, 0) as recall_baseline,
    (run_only - baseline_only) / nullif(n, 0) as diff,
    _pair_low(run_only, baseline_only, n, deff, df, p_value, level) as ci_low,
    0 - _pair_low(baseline_only, run_only, n, deff, df, p_value, level) as ci_high,
    run_only,
    baseline_only,
    p_value,
    case
        when p_value is not null
            then least(1e0, max(p_value * (tests - rank + 1)) over (order by rank rows unbounded preceding))
    end as p_holm,
    case
        when p_value is not null
            then least(1e0, min(p_value * tests / rank) over (order by rank desc rows unbounded preceding))
    end as p_bh,
from _ranked
order by rank;
