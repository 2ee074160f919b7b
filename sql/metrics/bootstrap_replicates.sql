-- The scores of bootstrap resamples: how far they would move with other images.
-- Grain: one row per replicate, in order of it.
-- Parameters: rel, replicates := 1000, seed := 0
-- Edges: as scores; the size of a resample is itself Poisson; the same numbers on every version and thread count.
-- Source: Hanley & MacGibbon (2006), Comput. Methods Programs Biomed. 83:57-62, drawn per cell of the confusion matrix
create or replace macro bootstrap_replicates(rel, replicates := 1000, seed := 0) as table
with _cells as materialized (
    select
        label,
        pred,
        n,
        poisson_steps(n) as steps,
    from confusion_matrix(rel)
),

_numbers as (select unnest(range(replicates)) as replicate),

_seeded as (
    select *, md5_number_lower(concat_ws(':', seed, replicate, label, pred)) as bits,
    from _cells
    cross join _numbers
),

_draws as materialized (
    select
        replicate,
        label,
        pred,
        poisson_draw(n, steps, bits) as n,
    from _seeded
),

_margins as (
    select replicate, label as class, n as support, 0 as predicted, n * (label = pred)::integer as tp from _draws
    union all
    select replicate, pred as class, 0 as support, n as predicted, 0 as tp from _draws
),

_classes as (
    select
        replicate,
        class,
        sum(support)::hugeint as support,
        sum(predicted)::hugeint as predicted,
        sum(tp)::hugeint as tp,
    from _margins
    group by replicate, class
),

_sums as (
    select
        replicate,
        sum(support)::bigint as n,
        sum(tp) as right_n,
        sum(support * predicted) as chance,
        sum(support * support) as labels_squared,
        sum(predicted * predicted) as preds_squared,
        avg(tp / nullif(support, 0)) as balanced_accuracy,
        avg(2 * tp / nullif(support + predicted, 0)) filter (where class >= 0) as f1_macro,
    from _classes
    group by replicate
)

select
    replicate,
    n,
    right_n / nullif(n, 0) as accuracy,
    balanced_accuracy,
    f1_macro,
    (right_n * n - chance) / nullif(n::hugeint * n - chance, 0) as cohen_kappa,
    case
        when n > 0 then coalesce(
            (right_n * n - chance)
            / nullif(sqrt((n::hugeint * n - labels_squared)::double * (n::hugeint * n - preds_squared)::double), 0),
            0
        )
    end as mcc,
from _sums
order by replicate;
