-- Every image of the run counts in its metrics, and each prediction is the most probable class.
-- Grain: one row per kind of problem, each a violation.
-- Parameters: $run
-- Edges: problems are columns of check_run, and failed images; with class policy open, confidences differ.
-- Source: macro check_run, table runs
-- severity: warn
with _run as (
    select
        coalesce(sum(n_errors), 0) as failed,
        coalesce(bool_or(class_policy = 'open'), false) as is_open,
        coalesce(bool_or(outputs = 'embedding'), false) as is_encoder,
    from runs
    where run = $run
),

_problems as (
    select
        unnest(['failed', 'no_label', 'no_prediction', 'pred_not_argmax', 'confidence_differs']) as problem,
        unnest([
            _run.failed,
            case when _run.is_encoder then 0 else checked.no_label end,
            case when _run.is_encoder then 0 else checked.no_prediction end,
            case when _run.is_open then 0 else checked.pred_not_argmax end,
            case when _run.is_open then 0 else checked.confidence_differs end
        ]) as n,
    from check_run($run) as checked
    cross join _run
)

select
    problem,
    n,
from _problems
where n > 0;
