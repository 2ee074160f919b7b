-- Images whose label is probably wrong: of each label, as many as the estimated noise takes from each other class.
-- Grain: one row per suspect image, least fitting first.
-- Parameters: rel
-- Edges: as label_issues; a label without a confident image of its own keeps one more from each class.
-- Source: Northcutt, Jiang & Chuang (2021), Confident Learning, prune by noise rate; cleanlab's find_label_issues
create or replace macro label_issues_by_noise_rate(rel) as table
with _joint as (
    select
        label,
        true_class,
        calibrated - (sum(calibrated * (label = true_class)::integer) over (partition by label) = 0)::integer as quota,
    from confident_joint(rel)
),

_cells as materialized ( -- noqa: ST03
    select
        label,
        true_class,
        quota,
    from _joint
    where label <> true_class
        and quota > 0
),

_near as materialized (
    select *
    from class_gaps(rel, '_cells')
    where gap > 0
),

-- Where a class takes more than are nearer to it, the other images need a rank too.
_short as ( -- noqa: ST03
    select label, true_class, quota
    from _cells
    except
    select label, true_class, quota
    from _near
    group by label, true_class, quota
    having count(*) >= quota
),

_candidates as (
    select * from _near
    union all
    select * from class_gaps(rel, '_short')
    where gap <= 0
),

_ranked as (
    select
        *,
        row_number() over (partition by label, true_class order by gap desc, image_id asc) as place,
    from _candidates
)

select distinct
    image_id,
    label,
    pred,
    self_confidence,
    self_confidence - confidence as margin,
from _ranked
where place <= quota
    and self_confidence - confidence < -1e-6
order by self_confidence, image_id;
