-- Where the model fails: slices and pairs that are significantly worse (Fisher's test), with images to look at.
-- Grain: one row per run and slice with p_bh below alpha, worst lower bound first.
-- Parameters: rel (or a list), cols (names), min_n := 20, bins := 4 (of a number), max_rows := 20, alpha := 0.05
-- Edges: no row: none is worse; none of min_n images with others beside it: an error; exemplars: surest mistakes.
-- Source: Fisher's exact test as in slices and slice_pairs, each with half of the weight of the correction
create or replace macro worst_slices(rel, cols, min_n := 20, bins := 4, max_rows := 20, alpha := 0.05) as table
with _images as materialized (
    from _slice_members(rel, cols, bins)
),

_sets as materialized (
    from _slice_sets('_images', min_n)
),

-- Without a slice to test, no row would look like a model that is worse nowhere.
_sizes as (
    select
        run,
        count(*) as n,
    from _images
    group by run
),

_tried as (
    select
        _sizes.run,
        count(_sets.n) as n_slices,
    from _sizes
    left join _sets
        on _sizes.run = _sets.run
        and _sizes.n > _sets.n
    group by _sizes.run
),

_worst as materialized (
    select
        *,
        row_number() over (partition by run order by ci_low desc, feature asc, value asc) as rank,
    from _slice_tests('_sets', min_n)
    where p_bh < alpha
    qualify rank <= max_rows
),

_mistakes as (
    select
        _worst.run,
        _worst.value.code_a,
        _worst.value.code_b,
        list(_images.image_id order by
            case when not isnan(_images.confidence::double) then _images.confidence end desc nulls last,
            _images.image_id asc
        )[:5] as exemplars,
    from _worst
    inner join _images
        on _worst.run = _images.run
        and list_contains(_images.codes, _worst.value.code_a)
        and list_contains(_images.codes, _worst.value.code_b)
    where _images.is_wrong
    group by _worst.run, _worst.value.code_a, _worst.value.code_b
)

select
    _worst.feature,
    _worst.value.text as value,
    _worst.n,
    _worst.n_wrong,
    _worst.error_rate,
    _worst.ci_low,
    _worst.ci_high,
    _worst.lift,
    _worst.diff,
    _worst.excess_errors,
    _worst.p_value,
    _worst.p_holm,
    _worst.p_bh,
    coalesce(_mistakes.exemplars, []) as exemplars,
    _worst.run,
from _worst
left join _mistakes
    on _worst.run = _mistakes.run
    and _worst.value.code_a = _mistakes.code_a
    and _worst.value.code_b = _mistakes.code_b
where (
    select coalesce(bool_and(case
        when n_slices > 0 then true
        else error(format(
            '{}: nothing to test: no value of {} has at least {} images (min_n) and others beside it',
            run, array_to_string(cols, ', '), min_n
        ))
    end), true)
    from _tried
)
order by _worst.run, _worst.rank;
