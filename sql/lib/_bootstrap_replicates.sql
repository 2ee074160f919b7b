-- The scores of bootstrap resamples, which vary as they would with other images.
-- Grain: one row per run and replicate, in order of both.
-- Parameters: rel, n_resamples := 1000, seed := 0, groups := null (images that are drawn together)
-- Edges: as scores and _resampled_groups; a resample without images has no row.
-- Source: Hanley & MacGibbon (2006), Comput. Methods Programs Biomed. 83:57-62, drawn per cell of the confusion matrix
create or replace macro _bootstrap_replicates(rel, n_resamples := 1000, seed := 0, groups := null) as table
with _rows as (
    select
        run,
        label,
        pred,
        groups as cluster,
    from query(_rel(rel))
    where label is not null
        and pred is not null
),

_cells as ( -- noqa: ST03
    select
        run,
        label,
        pred,
        cluster,
        count(*) as n,
        concat_ws(':', label, pred) as cell,
    from _rows
    group by run, label, pred, cluster
),

_draws as ( -- noqa: ST03
    select
        struct_pack(run := run, replicate := replicate) as slice,
        label,
        pred,
        n,
    from _resampled_groups('_cells', n_resamples, seed)
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
