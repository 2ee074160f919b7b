-- The scores of every value of an expression.
-- Grain: one row per value of expr (one more for NULL), in order of it.
-- Parameters: rel, expr (any SQL over the columns of rel; several as a row: (split, width_px > 256))
-- Edges: as scores, within each slice: classes are those among its labels or predictions; undefined precision is 0.
-- Source: scikit-learn; Cohen (1960), Educ. Psychol. Meas. 20:37-46; Gorodkin (2004), Comput. Biol. Chem. 28:367-374.
create or replace macro scores_by(rel, expr) as table
with _answers as (
    select
        expr as slice,
        label,
        pred,
    from query_table(rel)
    where label is not null
        and pred is not null
),

_cells as materialized (
    select
        slice,
        label,
        pred,
        count(*) as n,
    from _answers
    group by slice, label, pred
),

_margins as (
    select slice, label as class, n as support, 0 as predicted, 0 as tp from _cells
    union all
    select slice, pred as class, 0 as support, n as predicted, n * (label = pred)::integer as tp from _cells
),

_classes as (
    select
        slice,
        class,
        sum(support)::hugeint as support,
        sum(predicted)::hugeint as predicted,
        sum(tp)::hugeint as tp,
    from _margins
    group by slice, class
),

_sums as (
    select
        slice,
        sum(support)::bigint as n,
        sum(tp) as right_n,
        sum(support * predicted) as chance,
        sum(support * support) as labels_squared,
        sum(predicted * predicted) as preds_squared,
        avg(tp / nullif(support, 0)) as balanced_accuracy,
        avg(coalesce(tp / nullif(predicted, 0), 0)) filter (where class >= 0) as precision_macro,
        avg(coalesce(tp / nullif(support, 0), 0)) filter (where class >= 0) as recall_macro,
        avg(2 * tp / nullif(support + predicted, 0)) filter (where class >= 0) as f1_macro,
    from _classes
    group by slice
)

select
    slice,
    n,
    right_n / nullif(n, 0) as accuracy,
    wilson_low(right_n, n, 0.95) as ci_low,
    wilson_high(right_n, n, 0.95) as ci_high,
    balanced_accuracy,
    precision_macro,
    recall_macro,
    f1_macro,
    (right_n * n - chance) / nullif(n::hugeint * n - chance, 0) as cohen_kappa,
    coalesce(
        (right_n * n - chance)
        / nullif(sqrt((n::hugeint * n - labels_squared)::double * (n::hugeint * n - preds_squared)::double), 0),
        0
    ) as mcc,
from _sums
order by slice;
