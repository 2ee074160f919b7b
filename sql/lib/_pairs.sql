-- The rows of paired, each with its group: what tests of two runs count.
-- Grain: one row per image of both relations.
-- Parameters: rel, baseline (joined by image_id; the label is that of rel), groups := null (SQL over columns of rel)
-- Edges: as paired.
-- Source: definition
create or replace macro _pairs(rel, baseline, groups := null) as table
with _run as (
    select
        image_id,
        label,
        pred as pred_run,
        groups as cluster,
    from _one_run_once(rel)
    where label is not null
        and pred is not null
),

_baseline as (
    select
        image_id,
        pred as pred_baseline,
    from _one_run_once(baseline)
    where pred is not null
)

select
    _run.image_id,
    _run.label,
    _run.pred_run,
    _baseline.pred_baseline,
    _correct(_run.label, _run.pred_run) as correct_run,
    _correct(_run.label, _baseline.pred_baseline) as correct_baseline,
    _run.cluster,
from _run
inner join _baseline
    on _run.image_id = _baseline.image_id;
