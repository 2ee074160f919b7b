-- The scores of every value of an expression.
-- Grain: one row per run and value of expr (one more for NULL), in order of both.
-- Parameters: rel (or a list), expr (any SQL over its columns; several as a row: (split, width_px > 256))
-- Edges: as scores, within each slice: classes are those among its labels or predictions; undefined precision is 0.
-- Source: scikit-learn; Cohen (1960), Educ. Psychol. Meas. 20:37-46; Gorodkin (2004), Comput. Biol. Chem. 28:367-374.
create or replace macro scores_by(rel, expr) as table
with _answers as (
    select
        struct_pack(run := run, part := expr) as slice,
        image_id,
        label,
        pred,
    from query(_rel(rel))
    where label is not null
        and pred is not null
),

_repeats as (
    select
        slice,
        count(image_id) as n_ids,
        count(distinct image_id) as n_images,
    from _answers
    group by slice
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
    slice.part as slice,
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
    slice.run as run, -- noqa: AL09
from _cell_scores('_cells')
where (select coalesce(bool_and(_once(slice.run, n_ids, n_images)), true) from _repeats)
order by run, slice;
