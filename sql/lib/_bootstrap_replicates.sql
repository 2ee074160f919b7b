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
        dense_rank() over (order by run) - 1 as run_number,
        concat_ws(':', label, pred) as cell,
    from _rows
    group by run, label, pred, cluster
),

_runs as (
    select distinct
        run,
        run_number,
    from _cells
),

-- A cell stands in the row of its label and in the column of its prediction, drawn alike in both. In order of classes,
-- since millions of draws are summed twice as fast where neighbors have one class.
_margins as ( -- noqa: ST03
    select
        * exclude (run, label, pred),
        coalesce(_correct(label, pred), false) as was_right,
        unnest([greatest(label, -1), greatest(pred, -1)]) as class,
        unnest([true, false]) as is_label,
    from _cells
    order by class, is_label
),

-- A number and not a struct of run and replicate, by which millions of rows would be grouped more slowly.
_classes as ( -- noqa: ST03
    select
        run_number * n_resamples + replicate as slice,
        class,
        coalesce(sum(n) filter (where is_label), 0)::bigint as support,
        coalesce(sum(n) filter (where not is_label), 0)::bigint as predicted,
        coalesce(sum(n) filter (where is_label and was_right), 0)::bigint as tp,
    from _resampled_groups('_margins', n_resamples, seed)
    group by slice, class
)

select
    _scores.slice % n_resamples as replicate,
    _scores.n,
    _scores.accuracy,
    _scores.balanced_accuracy,
    _scores.f1_macro,
    _scores.cohen_kappa,
    _scores.mcc,
    _scores.chance,
    _runs.run,
from _margin_scores('_classes') as _scores
inner join _runs on _scores.slice // n_resamples = _runs.run_number
order by _runs.run, replicate;
