-- Wrong answers, most confident first.
-- Grain: one row per run and wrongly predicted image.
-- Parameters: rel (or a list), max_rows := 50 (of each run)
-- Edges: NULL label or pred is left out; NaN or NULL confidence comes last; p_label is NULL if probs has no label.
-- Source: definition
create or replace macro worst_mistakes(rel, max_rows := 50) as table
with _mistakes as (
    select
        image_id,
        label,
        pred,
        confidence,
        _p_of(probs, label) as p_label,
        label_name,
        pred_name,
        uri,
        run,
    from query(_rel(rel))
    where label is not null
        and pred is not null
        and not _correct(label, pred)
),

_ranked as (
    select
        *,
        row_number() over (
            partition by run
            order by
                case when not isnan(confidence) then confidence end desc nulls last,
                p_label asc nulls last,
                image_id asc
        ) as rank,
    from _mistakes
)

select
    image_id,
    label,
    pred,
    confidence,
    p_label,
    label_name,
    pred_name,
    uri,
    run,
from _ranked
where rank <= max_rows
order by run, rank;
