-- Suspected labels: images that confidently belong to another class, with the probability that the label is wrong.
-- Grain: one row per run and suspect image, least fitting first.
-- Parameters: rel (or a list)
-- Edges: left out as in label_quality; a label within 1e-6 of the most probable class is not one; sum p_wrong.
-- Source: Northcutt, Jiang & Chuang (2021), Confident Learning; margin = p_label - largest other; p_wrong: _label_noise
create or replace macro label_issues(rel) as table
with _guesses as materialized (
    select
        image_id,
        label,
        pred,
        suggested,
        self_confidence,
        confidence,
        margin,
        label = top as agrees,
        len(probs) as n_classes,
        label_name,
        pred_name,
        uri,
        run,
    from _confident_guesses(rel)
),

_suspects as (
    select
        _guesses.*,
        _noise.noise,
        -- The rest of the recalibrated confidence, in the proportions of probs.
        least(1, (1 - 1 / (1 + exp(-_noise.slope * _log_odds(_guesses.confidence) - _noise.shift)))
        * _guesses.self_confidence / greatest(1 - _guesses.confidence, 1e-9)) as p_label,
    from _guesses
    left join _label_noise('_guesses') as _noise on _guesses.run = _noise.run
    where _guesses.suggested <> _guesses.label
        and _guesses.margin < -1e-6
)

select
    image_id,
    label,
    pred,
    suggested,
    self_confidence,
    confidence,
    margin,
    -- Bayes: this label was drawn by mistake, or it is right and the model is wrong.
    case
        when noise = 0 then 0
        else noise * (1 - p_label) / (noise * (1 - p_label) + (n_classes - 1) * (1 - noise) * p_label)
    end as p_wrong,
    label_name,
    pred_name,
    uri,
    run,
from _suspects
order by run, self_confidence, image_id;
