-- Logarithms of the probabilities relative to the largest of each image: logits up to a constant.
-- Grain: one row per image with label, pred and probs.
-- Parameters: rel, eps := 1.1754944e-38 (least probability: float32's)
-- Edges: NULL label, pred or probs is left out; NaN gives NaN; a label outside probs has probability eps.
-- Source: softmax(ln p) = p
create or replace macro _log_margins(rel, eps := 1.1754944e-38) as table
with _logs as (
    select
        run,
        label,
        pred,
        confidence::double as confidence,
        coalesce(_p_of(probs, label), 0)::double as p_label,
        list_transform(probs, lambda _p: ln(greatest(_p, eps))) as logs,
        ln(greatest(list_max(probs), eps)) as top,
    from _one_run(rel)
    where label is not null
        and pred is not null
        and probs is not null
)

select
    run,
    label,
    pred,
    confidence,
    case when isnan(top) then top else p_label end as p_label,
    (ln(greatest(p_label, eps)) - top)::float as label_margin,
    list_transform(logs, lambda _z: (_z - top)::float) as margins,
from _logs;
