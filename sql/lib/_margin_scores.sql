-- Scores of the margins of confusion matrices, one for each slice: what _cell_scores and _bootstrap_replicates share.
-- Grain: one row per slice.
-- Parameters: rel (a relation of slice, class, support, predicted, tp), each class once in a slice, -1 for none
-- Edges: as scores, within each slice: classes are those among its labels or predictions; undefined precision is 0.
-- Source: scikit-learn; Cohen (1960), Educ. Psychol. Meas. 20:37-46; Gorodkin (2004), Comput. Biol. Chem. 28:367-374.
create or replace macro _margin_scores(rel) as table
with _sums as (
    select
        slice,
        sum(support)::bigint as n,
        sum(tp)::bigint as correct,
        coalesce(sum(support * predicted) filter (where class >= 0), 0) as chance,
        sum(support * support) as labels_squared,
        sum(predicted * predicted) as preds_squared,
        avg(tp / nullif(support, 0)) filter (where class >= 0) as balanced_accuracy,
        avg(coalesce(tp / nullif(predicted, 0), 0)) filter (where class >= 0) as precision_macro,
        avg(coalesce(tp / nullif(support, 0), 0)) filter (where class >= 0) as recall_macro,
        avg(2 * tp / nullif(support + predicted, 0)) filter (where class >= 0) as f1_macro,
    from query_table(rel)
    group by slice
)

select
    slice,
    n,
    correct,
    correct / nullif(n, 0) as accuracy,
    balanced_accuracy,
    precision_macro,
    recall_macro,
    f1_macro,
    (correct::hugeint * n - chance) / nullif(n::hugeint * n - chance, 0) as cohen_kappa,
    case
        when n > 0 then coalesce(
            (correct::hugeint * n - chance)
            / nullif(sqrt((n::hugeint * n - labels_squared)::double * (n::hugeint * n - preds_squared)::double), 0),
            0
        )
    end as mcc,
    chance / nullif(n::hugeint * n, 0) as chance,
from _sums;
