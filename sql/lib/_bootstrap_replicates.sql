-- The scores of bootstrap resamples, which vary as they would with other images.
-- Grain: one row per run and replicate, in order of both.
-- Parameters: rel, n_resamples := 1000, seed := 0
-- Edges: as scores and _resampled; a resample without images has no row.
-- Source: Hanley & MacGibbon (2006), Comput. Methods Programs Biomed. 83:57-62, drawn per cell of the confusion matrix
create or replace macro _bootstrap_replicates(rel, n_resamples := 1000, seed := 0) as table
with _cells as ( -- noqa: ST03
    select
        *,
        concat_ws(':', label, pred) as cell,
    from confusion_matrix(rel)
),

_draws as ( -- noqa: ST03
    select
        struct_pack(run := run, replicate := replicate) as slice,
        label,
        pred,
        n,
    from _resampled('_cells', n_resamples, seed)
)

select
    slice.replicate as replicate, -- noqa: AL09
    n,
    accuracy,
    balanced_accuracy,
    f1_macro,
    cohen_kappa,
    mcc,
    slice.run as run, -- noqa: AL09
from _cell_scores('_draws')
order by run, replicate;
