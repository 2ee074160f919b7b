-- Maximum mean discrepancy: how different the distributions of activations of two relations are.
-- Grain: one row.
-- Parameters: rel_ref, rel_cur, sample_n := 500 (images of each), gamma := null (1 / median of d^2), seed := 0
-- Edges: NULL or NaN activation is left out; under two images on a side give NULL; unbiased, so it may be negative.
-- Source: as _mmd_kernels; p_value of 199 permutations, so at least 0.005: Phipson & Smyth (2010), SAGMB 9:39
create or replace macro mmd(rel_ref, rel_cur, sample_n := 500, gamma := null, seed := 0) as table
with _kernels as materialized (
    select *, list_sum(kernels) as total
    from _mmd_kernels(rel_ref, rel_cur, sample_n, gamma, seed)
),

_sizes as (
    select
        count(*) filter (where side = 1) as n_ref,
        count(*) filter (where side = 2) as n_cur,
        any_value(width) as width,
        sum(total) as total,
    from _kernels
),

_draws as (
    select
        _kernels.index,
        _turns.replicate,
        case
            when _turns.replicate = 0 then _kernels.index
            else _uniform_of(concat_ws(':', seed, _turns.replicate, _kernels.index))
        end as draw,
    from _kernels
    cross join range(200) as _turns (replicate)
),

_chosen as (
    select
        _draws.replicate,
        _draws.index,
        row_number() over (partition by _draws.replicate order by _draws.draw, _draws.index) <= _sizes.n_ref as chosen,
    from _draws
    cross join _sizes
),

_sides as materialized (
    select replicate, list(chosen::double order by index) as sides
    from _chosen
    group by replicate
),

_sums as (
    select
        _sides.replicate,
        -- If all points are equal there is no width, and so no kernel.
        sum(case when _kernels.width > 0 then list_inner_product(_kernels.kernels, _sides.sides) end) as inside,
        sum(_kernels.total) as part,
    from _sides
    cross join _kernels
    where _sides.sides[_kernels.index] = 1
    group by _sides.replicate
),

_estimates as (
    select
        _sums.replicate,
        (_sums.inside - _sizes.n_ref) / nullif(_sizes.n_ref * (_sizes.n_ref - 1), 0)
        + (_sizes.total - 2 * _sums.part + _sums.inside - _sizes.n_cur)
        / nullif(_sizes.n_cur * (_sizes.n_cur - 1), 0)
        - 2 * (_sums.part - _sums.inside) / nullif(_sizes.n_ref * _sizes.n_cur, 0) as mmd2,
    from _sums
    cross join _sizes
)

select
    any_value(_estimates.mmd2) as mmd2,
    any_value(_sizes.width) as gamma,
    any_value(_sizes.n_ref) as n_ref,
    any_value(_sizes.n_cur) as n_cur,
    (1 + count(_others.mmd2)) / nullif(200 * count(distinct _estimates.mmd2), 0) as p_value,
from _sizes
left join _estimates on _estimates.replicate = 0
left join _estimates as _others on _others.replicate > 0 and _others.mmd2 >= _estimates.mmd2 - 1e-12;
