-- The scores of bootstrap resamples, which vary as they would with other images.
-- Grain: one row per run and replicate, in order of both.
-- Parameters: rel, n_resamples := 1000, seed := 0
-- Edges: as scores; the size of a resample is itself Poisson; the same numbers on every version and thread count.
-- Source: Hanley & MacGibbon (2006), Comput. Methods Programs Biomed. 83:57-62, drawn per cell of the confusion matrix
create or replace macro _bootstrap_replicates(rel, n_resamples := 1000, seed := 0) as table
with _cells as materialized (
    select
        run,
        label,
        pred,
        n,
        _poisson_steps(n) as steps,
    from confusion_matrix(rel)
),

_numbers as (select unnest(range(n_resamples)) as replicate),

-- The bits depend on seed, replicate and cell only, so the order of rows and the number of threads do not matter.
_seeded as (
    select *, md5_number_lower(concat_ws(':', seed, replicate, label, pred)) as bits,
    from _cells
    cross join _numbers
),

_draws as materialized ( -- noqa: ST03
    select
        struct_pack(run := run, replicate := replicate) as slice,
        label,
        pred,
        _poisson_draw(n, steps, bits) as n,
    from _seeded
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
