-- Runs side by side, the best first: accuracy, macro F1, AUC, calibration, speed, and how far each is from the best.
-- Grain: one row per run, most accurate first.
-- Parameters: rels (a list of relations, or one with a column run), level := 0.95
-- Edges: what is unknown is NULL; diff, its interval and p_value: run - best on the n_both common images.
-- Source: accuracy, scores, auc, calibration_error, mcnemar; Holm (1979) over all pairs, as the best was chosen
create or replace macro leaderboard(rels, level := 0.95) as table
with _answers as (
    -- A relation may lack these columns.
    select
        null::float as confidence,
        null::float[] as probs,
    where false
    union all by name
    from query(_rel(rels))
),

_ranked as (
    select
        *,
        row_number() over (order by accuracy desc nulls last, n desc, run asc) as place,
        count(accuracy) over () as n_runs,
    from accuracy('_answers', level := level)
),

_best as (
    select
        _answers.image_id,
        _correct(_answers.label, _answers.pred) as is_right,
    from _answers
    inner join _ranked on _answers.run = _ranked.run
    where _ranked.place = 1
        and _correct(_answers.label, _answers.pred) is not null
),

_pairs as (
    select
        _answers.run,
        any_value(_ranked.n_runs * (_ranked.n_runs - 1) / 2) as n_tests,
        count(*) as n_both,
        count(*) filter (where _correct(_answers.label, _answers.pred) and not _best.is_right) as run_only,
        count(*) filter (where _best.is_right and not _correct(_answers.label, _answers.pred)) as best_only,
    from _answers
    inner join _ranked on _answers.run = _ranked.run
    inner join _best on _answers.image_id = _best.image_id
    where _ranked.place > 1
        and _correct(_answers.label, _answers.pred) is not null
    group by _answers.run
),

_tests as (
    select
        *,
        _sign_test(run_only, best_only) as p_value,
    from _pairs
),

_sorted as (
    select
        *,
        row_number() over (order by p_value, run) as rank,
    from _tests
),

-- Whichever run looked best would have been compared with all others: each pair of runs counts as a test.
_corrected as (
    select
        *,
        least(1e0, max(p_value * (n_tests - rank + 1)) over (order by rank rows unbounded preceding)) as p_holm,
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
    _corrected.n_both,
    (_corrected.run_only - _corrected.best_only) / nullif(_corrected.n_both, 0) as diff,
    _paired_low(_corrected.run_only, _corrected.best_only, _corrected.n_both, level) as diff_low,
    _paired_high(_corrected.run_only, _corrected.best_only, _corrected.n_both, level) as diff_high,
    _corrected.p_value,
    _corrected.p_holm,
    _ranked.run,
from _ranked
inner join scores('_answers') as averages on _ranked.run = averages.run
inner join auc('_answers') as areas on _ranked.run = areas.run
inner join calibration_error('_answers') as errors on _ranked.run = errors.run
left join runs on _ranked.run = runs.run
left join _corrected on _ranked.run = _corrected.run
order by _ranked.place;
