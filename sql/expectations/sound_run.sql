-- The run is finished and its rows are consistent; otherwise every metric of it would be wrong.
-- Grain: one row per kind of problem, each a violation.
-- Parameters: $run
-- Edges: columns of check_run; embeddings predict nothing; policy open: probabilities sum to the share inside.
-- Source: macro check_run, table runs
with _run as (
    select
        coalesce(sum(n_images - n_ok - n_errors), 0) as not_done,
        coalesce(bool_or(outputs = 'embedding'), false) as is_encoder,
    from runs
    where run = $run
),

_problems as (
    select
        unnest([
            'not_done', 'nothing_predicted', 'duplicate_images', 'other_length', 'label_out_of_range', 'nan_probs',
            'outside_0_1', 'sum_not_1'
        ]) as problem,
        unnest([
            _run.not_done, (checked.n = checked.no_prediction and not _run.is_encoder)::bigint,
            checked.duplicate_images, checked.other_length,
            checked.label_out_of_range, checked.nan_probs, checked.outside_0_1, checked.sum_not_1
        ]) as n,
    from check_run($run) as checked
    cross join _run
)

select
    problem,
    n,
from _problems
where n > 0;
