-- The class that each image confidently belongs to, by the threshold of each class.
-- Grain: one row per image.
-- Parameters: rel
-- Edges: no class above its threshold: suggested NULL; several: the most probable; left out as in label_quality.
-- Source: Northcutt, Jiang & Chuang (2021), Confident Learning, J. Artif. Intell. Res. 70:1373-1411.
create or replace macro _confident_guesses(rel) as table
with _bars as (
    select
        run,
        list(case when threshold is not null then greatest(threshold, 2e-6) - 1e-6 end order by class) as bars,
    from confident_thresholds(rel)
    group by run
),

_answers as (
    select
        _rows.run,
        _rows.image_id,
        _rows.label,
        _rows.pred,
        _rows.probs,
        _rows.label_name,
        _rows.pred_name,
        _rows.uri,
        _bars.bars,
        argmax(_rows.probs) as top,
    from query(_rel(rel)) as _rows
    inner join _bars on _rows.run = _bars.run
    where _rows.label is not null
        and _rows.pred is not null
        and not isnan(list_max(_rows.probs)::double)
        and _p_of(_rows.probs, _rows.label) is not null
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
    label_name,
    pred_name,
    uri,
    run,
from _answers;
