-- Bootstrap resamples of counted cells: each count of each replicate is a Poisson number whose mean is the cell's n.
-- Grain: one row per replicate and cell, of zeros not all; the columns of rel, n replaced, and replicate.
-- Parameters: rel (n, cell: a text that names it, and others), n_resamples, seed
-- Edges: the size of a resample is itself Poisson; the same numbers on every version and thread count.
-- Source: Hanley & MacGibbon (2006), Comput. Methods Programs Biomed. 83:57-62; mixing: lowbias32 by C. Wellons
create or replace macro _resampled(rel, n_resamples, seed) as table
with _means as materialized (
    select
        n,
        _poisson_steps(n) as _steps,
        -- The first steps as whole numbers, to compare bits with: reading lists in every row takes three times as long.
        list_transform(_steps, lambda _step: ceil(4294967296e0 * _step)::ubigint) as _ends,
    from (select distinct n from query_table(rel)) as _distinct
),

_cells as materialized (
    select
        _rows.* exclude (cell),
        _means._steps,
        coalesce(_means._ends[1], 0) as _end_0,
        _means._ends[2] as _end_1,
        _means._ends[3] as _end_2,
        _means._ends[4] as _end_3,
        _means._ends[5] as _end_4,
        _means._ends[6] as _end_5,
        md5_number_lower(concat_ws(':', seed, _rows.cell)) as _cell_bits,
    from query_table(rel) as _rows
    inner join _means on _rows.n = _means.n
),

_numbers as materialized (
    select
        replicate,
        md5_number_lower(concat_ws(':', seed, replicate)) as _replicate_bits,
    from (select unnest(range(n_resamples)) as replicate) as _range
),

-- An MD5 per cell and per replicate, not per pair of them: their bits are mixed, the upper half into the lower half.
_pairs as (
    select
        _cells.* exclude (_cell_bits),
        _numbers.replicate,
        xor(_cells._cell_bits, _numbers._replicate_bits) & 4294967295 as _low,
        xor(_cells._cell_bits, _numbers._replicate_bits) >> 32 as _a0,
    from _cells
    cross join _numbers
),

_a as (select * exclude (_a0), (xor(_a0, _a0 >> 16) * 2146121005) & 4294967295 as _a1 from _pairs),

_b as (select * exclude (_a1), (xor(_a1, _a1 >> 15) * 2221713035) & 4294967295 as _a2 from _a),

_c as (select * exclude (_a2, _low), xor(_a2, _a2 >> 16) as _high, xor(_low, _high) as _b0 from _b),

_d as (select * exclude (_b0), (xor(_b0, _b0 >> 16) * 2146121005) & 4294967295 as _b1 from _c),

_e as (select * exclude (_b1), (xor(_b1, _b1 >> 15) * 2221713035) & 4294967295 as _b2 from _d),

_mixed as (select * exclude (_b2), xor(_b2, _b2 >> 16) as _bits from _e),

_draws as (
    select * exclude (_steps, _end_0, _end_1, _end_2, _end_3, _end_4, _end_5, _high, _bits) replace (case
        when _bits < _end_1 then 1
        when _bits < _end_2 then 2
        when _bits < _end_3 then 3
        when _bits < _end_4 then 4
        when _bits < _end_5 then 5
        else _poisson_draw(n, _steps, _high * 4294967296 + _bits)
    end::bigint as n),
    from _mixed
    -- Leaves out the zeros of small means.
    where _bits >= _end_0
)

select columns(*),
from _draws;
