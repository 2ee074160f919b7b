-- The rows of paired, each with its group: what tests of two runs count.
-- Grain: one row per image of both relations.
-- Parameters: rel, baseline (joined by image_id; the label is that of rel), is_right, groups := null (SQL over rel)
-- Edges: as paired.
-- Source: definition
create or replace macro _pairs(rel, baseline, is_right := null, groups := null) as table
-- As _one_run_once, which would read a relation twice; views of runs are joins.
with _run_rows as materialized (
    select
        run,
        image_id,
        label,
        pred,
        _right(is_right, label, pred) as was_right,
        groups as cluster,
    from query(_rel(rel))
    where _is_empty is null
),

_baseline_rows as materialized (
    select
        run,
        image_id,
        pred,
        -- NULL without an expression: what is right follows from the label of rel.
        _right(is_right, null, pred) as was_right,
        typeof(is_right) = '"NULL"' as is_plain,
    from query(_rel(baseline))
    where _is_empty is null
),

_run_check as (
    select _same_run(min(run), max(run)) and _once(max(run), count(image_id), count(distinct image_id)) as is_sound
    from _run_rows
),

_baseline_check as (
    select _same_run(min(run), max(run)) and _once(max(run), count(image_id), count(distinct image_id)) as is_sound
    from _baseline_rows
),

_run as (
    select
        image_id,
        label,
        pred as pred_run,
        was_right as correct_run,
        cluster,
    from _run_rows
    where was_right is not null
        and (select is_sound from _run_check)
),

_baseline as (
    select
        image_id,
        pred as pred_baseline,
        was_right,
    from _baseline_rows
    where pred is not null
        and (is_plain or was_right is not null)
        and (select is_sound from _baseline_check)
)

select
    _run.image_id,
    _run.label,
    _run.pred_run,
    _baseline.pred_baseline,
    _run.correct_run,
    coalesce(_baseline.was_right, _correct(_run.label, _baseline.pred_baseline)) as correct_baseline,
    _run.cluster,
from _run
inner join _baseline
    on _run.image_id = _baseline.image_id;
