-- Whether and in which features two sets of images differ: one test for each feature that both have.
-- Grain: one row per feature, smallest p-value first.
-- Parameters: rel_ref, rel_cur (of different images; for two runs on the same images: mcnemar, agreement)
-- Edges: no row for a column missing or NULL on a side, or constant over both; p_holm is corrected for the rows there.
-- Source: numbers by _ks_tests, categories by _category_tests, activations by mmd; Holm (1979), Scand. J. Stat. 6:65-70
create or replace macro drift(rel_ref, rel_cur) as table
with _features as (
    select
        null::double as confidence, null::double as brightness, null::double as contrast, null::double as sharpness,
        null::double as width_px, null::double as height_px, null::double as n_bytes,
        null::varchar as format, null::varchar as label, null::varchar as pred, null::float[] as activation
    where false
),

_both as (
    select *, 1 as _in_ref, 0 as _in_cur from _one_run_once(rel_ref)
    union all by name
    select *, 0 as _in_ref, 1 as _in_cur from _one_run_once(rel_cur)
    union all by name
    select * from _features
),

_drift_ref as (select image_id, activation, run from _both where _in_ref = 1), -- noqa: ST03

_drift_cur as (select image_id, activation, run from _both where _in_cur = 1), -- noqa: ST03

_chosen as (
    select
        _in_ref as in_ref, _in_cur as in_cur,
        confidence, brightness, contrast, sharpness, width_px, height_px, n_bytes, format, label, pred
    from _both
),

_numbers as ( -- noqa: ST03
    from _chosen
    unpivot (value for feature in (confidence, brightness, contrast, sharpness, width_px, height_px, n_bytes))
),

_categories as ( -- noqa: ST03
    from _chosen unpivot (value for feature in (format, label, pred))
),

_tests as (
    select feature, 'ks d' as measure, d as size, p_value, n_ref, n_cur
    from _ks_tests('_numbers') where varies
    union all
    select feature, 'total variation' as measure, total_variation as size, p_value, n_ref, n_cur
    from _category_tests('_categories', 1e-4) where categories > 1
    union all
    select 'activation' as feature, 'mmd2' as measure, mmd2 as size, p_value, n_ref, n_cur
    from mmd('_drift_ref', '_drift_cur')
),

_ranked as (
    select
        *,
        row_number() over (order by p_value) as rank,
        count(*) over () as tests,
    from _tests
    where size is not null
),

_corrected as (
    select
        *,
        least(1, max(p_value * (tests + 1 - rank)) over (order by rank)) as p_holm,
    from _ranked
)

select
    feature,
    measure,
    size as value,
    n_ref,
    n_cur,
    p_value,
    p_holm,
    case when p_holm < 0.05 then 'differs' else 'no difference established' end as verdict,
from _corrected
order by p_holm, value desc, feature;
