-- Gaussian kernels between all pairs of a sample of activations from two relations, for mmd.
-- Grain: one row per sampled image, those of rel_ref first.
-- Parameters: rel_ref, rel_cur, sample_n (images of each), gamma (null: 1 / median of d^2), seed
-- Edges: NULL or NaN activation is left out; kernels are in order of index; a single image has no width.
-- Source: Gretton et al. (2012), A Kernel Two-Sample Test, J. Mach. Learn. Res. 13:723-773, kernel exp(-gamma d^2)
create or replace macro _mmd_kernels(rel_ref, rel_cur, sample_n, gamma, seed) as table
with _reference as (
    select
        1 as side,
        image_id,
        activation::double[] as point,
    from _one_run_once(rel_ref)
    where not isnan(list_sum(activation)::double)
    order by _uniform_of(concat_ws(':', seed, 1, image_id)), image_id
    limit sample_n
),

_current as (
    select
        2 as side,
        image_id,
        activation::double[] as point,
    from _one_run_once(rel_cur)
    where not isnan(list_sum(activation)::double)
    order by _uniform_of(concat_ws(':', seed, 2, image_id)), image_id
    limit sample_n
),

_both as (
    select * from _reference
    union all
    select * from _current
),

_points as materialized (
    select
        side,
        point,
        row_number() over (order by side, image_id) as index,
    from _both
),

_lists as materialized (
    select list(point order by index) as points
    from _points
),

-- One list of points instead of a self-join: each row of the kernel matrix is one list.
_gaps as materialized (
    select
        side,
        index,
        list_transform(points, lambda _p: list_distance(_p, point) ** 2) as gaps,
    from _points
    cross join _lists
),

_pairs as (
    select unnest(gaps[index + 1:]) as gap
    from _gaps
),

_widths as (
    select coalesce(gamma, 1 / nullif(median(gap), 0))::double as width
    from _pairs
)

select
    side,
    index,
    width,
    list_transform(gaps, lambda _gap: exp(-width * _gap)) as kernels,
from _gaps
cross join _widths
order by index;
