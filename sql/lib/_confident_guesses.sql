-- The class that each image confidently belongs to, by the threshold of each class.
-- Grain: one row per image.
-- Parameters: rel
-- Edges: no class above its threshold: suggested NULL; several: the most probable; left out as in label_quality.
-- Source: Northcutt, Jiang & Chuang (2021), Confident Learning, J. Artif. Intell. Res. 70:1373-1411.
create or replace macro _confident_guesses(rel) as table
with _bars as (
    select list(case when threshold is not null then greatest(threshold, 2e-6) - 1e-6 end order by class) as bars
    from confident_thresholds(rel)
),

_answers as (
    select
        image_id,
        label,
        pred,
        probs,
        bars,
        argmax(probs) as top,
    from query_table(rel)
    cross join _bars
    where label is not null
        and pred is not null
        and not isnan(list_max(probs)::double)
        and _p_of(probs, label) is not null
)

select
    image_id,
    label,
    pred,
    top,
    case
        when probs[top + 1] >= bars[top + 1] then top
        else list_transform(
            [list_transform(list_zip(probs, bars), lambda _pair: (_pair[1] >= _pair[2])::integer)],
            lambda _above: case when list_sum(_above) > 1 then top else list_position(_above, 1) - 1 end
        )[1]
    end as suggested,
    _p_of(probs, label)::double as self_confidence,
    probs[top + 1]::double as confidence,
    _p_of(probs, label)::double - case
        when top <> label then probs[top + 1]
        else greatest(list_max(probs[1:label]), list_max(probs[label + 2:]))
    end::double as margin,
    probs,
from _answers;
