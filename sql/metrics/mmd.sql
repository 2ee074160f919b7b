-- Maximum mean discrepancy of activations: how differently two relations fill the model's feature space.
-- Grain: one row.
-- Parameters: rel_ref, rel_cur, sample_n := 500 (images of each), gamma := null (1 / median of d^2), seed := 0
-- Edges: NULL or NaN activation is left out; under two images on a side give NULL; unbiased, so it may be negative.
-- Source: Gretton et al. (2012), A Kernel Two-Sample Test, J. Mach. Learn. Res. 13:723-773, kernel exp(-gamma d^2)
create or replace macro mmd(rel_ref, rel_cur, sample_n := 500, gamma := null, seed := 0) as table
with _reference as (
    select
        1 as side,
        activation::double[] as point,
    from query_table(rel_ref)
    where not isnan(list_sum(activation)::double)
    order by uniform_of(concat_ws(':', seed, 1, image_id)), image_id
    limit sample_n
),

_current as (
    select
        2 as side,
        activation::double[] as point,
    from query_table(rel_cur)
    where not isnan(list_sum(activation)::double)
    order by uniform_of(concat_ws(':', seed, 2, image_id)), image_id
    limit sample_n
),

_both as (
    select * from _reference
    union all
    select * from _current
),

_points as materialized (
    select *, row_number() over () as place
    from _both
),

_pairs as materialized (
    select
        _one.side as side_a,
        _two.side as side_b,
        list_distance(_one.point, _two.point) ** 2 as gap,
    from _points as _one
    inner join _points as _two
        on _one.place < _two.place
),

_width as (
    select coalesce(gamma, 1 / nullif(median(gap), 0))::double as width
    from _pairs
),

_sizes as (
    select
        count(*) filter (where side = 1) as n_ref,
        count(*) filter (where side = 2) as n_cur,
    from _points
),

_kernels as (
    select
        avg(exp(-_width.width * _pairs.gap)) filter (where _pairs.side_a = 1 and _pairs.side_b = 1) as inside_ref,
        avg(exp(-_width.width * _pairs.gap)) filter (where _pairs.side_a = 2 and _pairs.side_b = 2) as inside_cur,
        avg(exp(-_width.width * _pairs.gap)) filter (where _pairs.side_a <> _pairs.side_b) as across_both,
    from _pairs
    cross join _width
),

_result (mmd2, gamma, n_ref, n_cur) as (
    select
        _kernels.inside_ref + _kernels.inside_cur - 2 * _kernels.across_both,
        _width.width,
        _sizes.n_ref,
        _sizes.n_cur,
    from _kernels
    cross join _width
    cross join _sizes
)

from _result;
