-- The rows of paired, each with its group: what tests of two runs count.
-- Grain: one row per image of both relations.
-- Parameters: rel, baseline (joined by image_id; the label is that of rel), is_right, groups := null (SQL over rel)
-- Edges: as paired.
-- Source: definition
create or replace macro _pairs(rel, baseline, is_right := null, groups := null) as table
with _run as (
    select
        image_id,
        label,
        pred as pred_run,
        _right(is_right, label, pred) as correct_run,
        groups as cluster,
    from _one_run_once(rel)
    where _right(is_right, label, pred) is not null
),

_baseline as (
    select
        image_id,
        pred as pred_baseline,
        -- NULL without an expression: what is right follows from the label of rel.
        _right(is_right, null, pred) as was_right,
    from _one_run_once(baseline)
    where pred is not null
        and (typeof(is_right) = '"NULL"' or _right(is_right, null, pred) is not null)
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
