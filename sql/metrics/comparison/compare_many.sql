-- Is any of several runs better or worse than one baseline: their differences, tested and corrected for their number.
-- Grain: one row per run, the best difference first.
-- Parameters: runs (a list of relations), baseline, level := 0.95, is_right := null, groups := null (both as mcnemar)
-- Edges: images of both; n_left_out: of one only; all intervals hold at once, so one can include 0 at a small p_holm.
-- Source: exact McNemar tests, Holm (1979), Scand. J. Stat. 6:65-70; intervals as mcnemar, Bonferroni's correction
create or replace macro compare_many(runs, baseline, level := 0.95, is_right := null, groups := null) as table
with _answers as materialized (
    from _sides(runs, baseline, is_right, groups := groups)
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

_runs as (
    select
        run,
        count(was_right) as n_run,
    from _answers
    where is_run
    group by run
),

_pairs as ( -- noqa: ST03
    select
        _answers.run,
        true as slice,
        _answers.cluster,
        _answers.was_right as correct_run,
        _baseline.was_right as correct_baseline,
        1 as n,
    from _answers
    inner join _baseline on _answers.image_id = _baseline.image_id
    where _answers.is_run
        and _answers.was_right is not null
),

_tests as (
    select
        _runs.run,
        _runs.n_run,
        _size.n as n_baseline,
        coalesce(_sums.n, 0) as n,
        coalesce(_sums.both_right, 0) as both_right,
        coalesce(_sums.run_only, 0) as run_only,
        coalesce(_sums.baseline_only, 0) as baseline_only,
        _sums.deff,
        _sums.df,
        1 - (1 - _level(level)) / greatest(1, count(_sums.n) over ()) as each_level,
        _pair_p(_sums.run_only, _sums.baseline_only, _sums.n, _sums.deff, _sums.df) as p_value,
    from _runs
    left join _pair_sums('_pairs') as _sums on _runs.run = _sums.run
    cross join _size
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
    (run_only - baseline_only) / nullif(n, 0) as diff,
    _pair_low(run_only, baseline_only, n, deff, df, p_value, each_level) as ci_low,
    0 - _pair_low(baseline_only, run_only, n, deff, df, p_value, each_level) as ci_high,
    p_value,
    case
        when p_value is not null
            then least(1e0, max(p_value * (tests - rank + 1)) over (order by rank rows unbounded preceding))
    end as p_holm,
    run,
from _ranked
order by diff desc nulls last, run asc;
