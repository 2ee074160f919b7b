-- Images whose label is probably wrong: of each label, as many as the estimated noise takes from each other class.
-- Grain: one row per suspect image, least fitting first.
-- Parameters: rel
-- Edges: as label_issues; a label of one image loses none; one without a confident image of its own loses one less.
-- Source: Northcutt, Jiang & Chuang (2021), Confident Learning, prune by noise rate; cleanlab's find_label_issues
create or replace macro label_issues_by_noise_rate(rel) as table
with _joint as (
    select
        label,
        true_class,
        sum(calibrated) over (partition by label) as n,
        calibrated - (min(calibrated) filter (where label = true_class) over (partition by label) = 0)::integer as quota,
    from confident_joint(rel)
),

_quotas as (
    select
        label,
        list(true_class + 1 order by true_class) as places,
        list(quota order by true_class) as quotas,
    from _joint
    where label <> true_class
        and quota > 0
        and n > 1
    group by label
),

-- Every image, once for each class that takes some of its label.
_gaps as not materialized (
    select
        _guesses.image_id,
        _guesses.label,
        _guesses.pred,
        _guesses.self_confidence,
        _guesses.margin,
        unnest(list_select(_guesses.probs, _quotas.places)) - _guesses.self_confidence as gap,
        unnest(_quotas.places) as place,
        unnest(_quotas.quotas) as quota,
    from confident_guesses(rel) as _guesses
    inner join _quotas
        on _guesses.label = _quotas.label
),

-- Classes that take more than are nearer to them; elsewhere the others need no rank.
_short as materialized (
    select
        label,
        place,
    from _gaps
    group by label, place, quota
    having count(*) filter (where gap > 0) < quota
),

_ranked as (
    select
        *,
        row_number() over (partition by label, place order by gap desc, image_id asc) as nth,
    from _gaps
    where gap > 0
        or (label, place) in (select (label, place) from _short)
)

select distinct
    image_id,
    label,
    pred,
    self_confidence,
    margin,
from _ranked
where nth <= quota
    and margin < -1e-6
order by self_confidence, image_id;
