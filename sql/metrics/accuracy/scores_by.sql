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

_cells as materialized ( -- noqa: ST03
    select
        slice,
        label,
        pred,
        count(*) as n,
    from _answers
    group by slice, label, pred
)

select
    slice,
    n,
    accuracy,
    wilson_low(correct, n, 0.95) as ci_low,
    wilson_high(correct, n, 0.95) as ci_high,
    balanced_accuracy,
    precision_macro,
    recall_macro,
    f1_macro,
    cohen_kappa,
    mcc,
from _cell_scores('_cells')
order by slice;
