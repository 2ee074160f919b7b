-- Runs side by side, the best first: accuracy, macro F1, AUC, calibration, speed, and how far each is from the best.
-- Grain: one row per run, most accurate first.
-- Parameters: rels (a list of relations, or one with a column run), level := 0.95, groups := null (as mcnemar)
-- Edges: what is unknown is NULL; diff, its interval and p_value: run - best on the n_both common images.
-- Source: accuracy, scores, auc, calibration_error, mcnemar; Holm (1979) over all pairs, as the best was chosen
create or replace macro leaderboard(rels, level := 0.95, groups := null) as table
with _given as (
    -- A relation may lack these columns.
    select
        null::float as confidence,
        null::float[] as probs,
    where false
    union all by name
    select
        *,
        groups as image_group,
    from query(_rel(rels))
),

_ranked as (
    select
        *,
        row_number() over (order by accuracy desc nulls last, n desc, run asc) as place,
        count(accuracy) over () as n_runs,
    from accuracy('_given', level := level, groups := image_group)
),

_best as (
    select
        _given.run,
        _given.image_id,
        _given.label,
        _correct(_given.label, _given.pred) as is_right,
    from _given
    inner join _ranked on _given.run = _ranked.run
    where _ranked.place = 1
        and _correct(_given.label, _given.pred) is not null
),

_pairs as ( -- noqa: ST03
    select
        _given.run,
        true as slice,
        _given.image_group as cluster,
        _correct(_given.label, _given.pred) as correct_run,
        _best.is_right as correct_baseline,
        1 as n,
    from _given
    inner join _ranked on _given.run = _ranked.run
    inner join _best on _given.image_id = _best.image_id
    where _ranked.place > 1
        and _correct(_given.label, _given.pred) is not null
        and case
            when _given.label <> _best.label then error(format(
                'image {} has the label {} in {} and {} in {}: compare runs over the same labels',
                _given.image_id, _given.label, _given.run, _best.label, _best.run
            ))
            else true
        end
),

_tests as (
    select
        _sums.*,
        _ranked.n_runs * (_ranked.n_runs - 1) / 2 as n_tests,
        _pair_p(_sums.run_only, _sums.baseline_only, _sums.n, _sums.deff, _sums.df) as p_value,
    from _pair_sums('_pairs') as _sums
    inner join _ranked on _sums.run = _ranked.run
),

_sorted as (
    select
        *,
        row_number() over (order by p_value nulls last, run) as rank,
    from _tests
),

-- Whichever run looked best would have been compared with all others: each pair of runs counts as a test.
_corrected as (
    select
        *,
        case
            when p_value is not null
                then least(1e0, max(p_value * (n_tests - rank + 1)) over (order by rank rows unbounded preceding))
        end as p_holm,
        _pair_low(run_only, baseline_only, n, deff, df, p_value, level) as diff_low,
        0 - _pair_low(baseline_only, run_only, n, deff, df, p_value, level) as diff_high,
    from _sorted
)

select
    _ranked.place,
    _ranked.n,
    _ranked.accuracy,
    _ranked.ci_low,
    _ranked.ci_high,
    averages.f1_macro,
    areas.roc_auc_macro,
    errors.ece,
    runs.images_per_second,
    _corrected.n as n_both,
    (_corrected.run_only - _corrected.baseline_only) / nullif(_corrected.n, 0) as diff,
    _corrected.diff_low,
    _corrected.diff_high,
    _corrected.p_value,
    _corrected.p_holm,
    areas.roc_auc_max_error,
    _ranked.run,
from _ranked
inner join scores('_given') as averages on _ranked.run = averages.run
inner join auc('_given') as areas on _ranked.run = areas.run
inner join calibration_error('_given') as errors on _ranked.run = errors.run
left join runs on _ranked.run = runs.run
left join _corrected on _ranked.run = _corrected.run
order by _ranked.place;
