-- Is any of several runs better or worse than one baseline: their differences, tested and corrected for their number.
-- Grain: one row per run, the best difference first.
-- Parameters: runs (a list of relations), baseline, level := 0.95, is_right := null (as mcnemar)
-- Edges: images of both; n_left_out: of one only; all intervals hold at once, so one can include 0 at a small p_holm.
-- Source: exact McNemar tests, Holm (1979), Scand. J. Stat. 6:65-70; intervals as mcnemar, Bonferroni's correction
create or replace macro compare_many(runs, baseline, level := 0.95, is_right := null) as table
with _answers as materialized (
    from _sides(runs, baseline, is_right)
    where (select _same_run(min(run), max(run)) from query(_rel(baseline)))
),

_baseline as (
    select
        image_id,
        was_right,
    from _answers
    where not is_run
        and was_right is not null
        and image_id is not null
),

_size as (
    select count(*) as n from _baseline
),

_pairs as (
    select
        _answers.run,
        count(*) filter (where _answers.was_right and _baseline.was_right) as both_right,
        count(*) filter (where _answers.was_right and not _baseline.was_right) as run_only,
        count(*) filter (where _baseline.was_right and not _answers.was_right) as baseline_only,
        count(_answers.was_right) as n_run,
        count(_baseline.was_right) as n,
        any_value(_size.n) as n_baseline,
    from _answers
    left join _baseline
        on _answers.image_id = _baseline.image_id
        and _answers.was_right is not null
    cross join _size
    where _answers.is_run
    group by _answers.run
),

_tests as (
    select
        *,
        (run_only - baseline_only) / nullif(n, 0) as diff,
        1 - (1 - _level(level)) / count(nullif(n, 0)) over () as each_level,
        case when n > 0 then _sign_test(run_only, baseline_only) end as p_value,
    from _pairs
),

_ranked as (
    select
        *,
        row_number() over (order by p_value nulls last, run) as rank,
        count(p_value) over () as tests,
    from _tests
)

select
    n,
    n_run + n_baseline - 2 * n as n_left_out,
    run_only,
    baseline_only,
    (both_right + run_only) / nullif(n, 0) as accuracy_run,
    (both_right + baseline_only) / nullif(n, 0) as accuracy_baseline,
    diff,
    _paired_low(run_only, baseline_only, n, each_level) as ci_low,
    _paired_high(run_only, baseline_only, n, each_level) as ci_high,
    p_value,
    case
        when p_value is not null
            then least(1e0, max(p_value * (tests - rank + 1)) over (order by rank rows unbounded preceding))
    end as p_holm,
    run,
from _ranked
order by diff desc nulls last, run asc;
