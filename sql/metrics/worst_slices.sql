-- Where the model fails: slices and pairs of slices that are surely worse than the rest, with images to look at.
-- Grain: one row per slice with p_bh below alpha, worst lower bound first.
-- Parameters: rel, cols (names of columns), min_n := 20, bins := 4 (ranges of a number), limit_n := 20, alpha := 0.05
-- Edges: as slices; a pair must be worse than either part too; exemplars are its five most confident mistakes.
-- Source: Fisher's exact test, one-sided; slices and pairs each get half of the weight of the correction
create or replace macro worst_slices(rel, cols, min_n := 20, bins := 4, limit_n := 20, alpha := 0.05) as table
with _images as materialized (
    from slice_members(rel, cols, bins)
),

_tests as ( -- noqa: ST03
    select
        *,
        count(p_value) over () / count(p_value) over (partition by value.code_a = value.code_b) as one_share,
        one_share / case when one_share > 1 then 2 else 1 end as weight,
    from slice_risks('_images', min_n)
),

_found as materialized (
    select * from slice_figures('_tests')
    where p_bh < alpha
    order by ci_low desc, feature asc, value asc
    limit limit_n
),

_mistakes as (
    select
        _found.value.code_a,
        _found.value.code_b,
        list(_images.image_id order by
            case when not isnan(_images.confidence::double) then _images.confidence end desc nulls last,
            _images.image_id asc
        )[:5] as exemplars,
    from _found
    inner join _images
        on list_contains(_images.codes, _found.value.code_a)
        and list_contains(_images.codes, _found.value.code_b)
    where _images.is_wrong
    group by _found.value.code_a, _found.value.code_b
)

select
    _found.feature,
    _found.value.text as value,
    _found.n,
    _found.errors,
    _found.error_rate,
    _found.ci_low,
    _found.ci_high,
    _found.lift,
    _found.diff,
    _found.excess_errors,
    _found.z,
    _found.p_value,
    _found.p_holm,
    _found.p_bh,
    coalesce(_mistakes.exemplars, []) as exemplars,
from _found
left join _mistakes on _found.value.code_a = _mistakes.code_a and _found.value.code_b = _mistakes.code_b
order by _found.ci_low desc, _found.feature asc, _found.value asc;
