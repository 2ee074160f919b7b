-- The scores of bootstrap resamples, which vary as they would with other images.
-- Grain: one row per run and replicate, in order of both.
-- Parameters: rel, n_resamples := 1000, seed := 0
-- Edges: as scores and _resampled; a resample without images has no row.
-- Source: Hanley & MacGibbon (2006), Comput. Methods Programs Biomed. 83:57-62, drawn per cell of the confusion matrix
create or replace macro _bootstrap_replicates(rel, n_resamples := 1000, seed := 0) as table
with _cells as ( -- noqa: ST03
    select
        *,
        dense_rank() over (order by run) - 1 as run_number,
        concat_ws(':', label, pred) as cell,
    from confusion_matrix(rel)
),

_runs as (
    select distinct
        run,
        run_number,
    from _cells
),

-- A number and not a struct of run and replicate, by which millions of rows would be grouped more slowly.
_draws as ( -- noqa: ST03
    select
        run_number * n_resamples + replicate as slice,
        label,
        pred,
        n,
    from _resampled('_cells', n_resamples, seed)
)

select
    _scores.slice % n_resamples as replicate,
    _scores.n,
    _scores.accuracy,
    _scores.balanced_accuracy,
    _scores.f1_macro,
    _scores.cohen_kappa,
    _scores.mcc,
    _runs.run,
from _cell_scores('_draws') as _scores
inner join _runs on _scores.slice // n_resamples = _runs.run_number
order by _runs.run, replicate;
