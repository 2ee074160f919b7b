-- Bootstrap resamples of counted cells: each count of each replicate is a Poisson number whose mean is the cell's n.
-- Grain: one row per replicate and cell, of zeros not all; the columns of rel, n replaced, and replicate.
-- Parameters: rel (n, cell: a text that names it, and others), n_resamples, seed
-- Edges: the size of a resample is itself Poisson; the same numbers on every version and thread count.
-- Source: Hanley & MacGibbon (2006), Comput. Methods Programs Biomed. 83:57-62; mixing: lowbias32 by C. Wellons
create or replace macro _resampled(rel, n_resamples, seed) as table
with _cells as materialized (
    select
        * exclude (cell),
        _poisson_steps(n) as _steps,
        md5_number_lower(concat_ws(':', seed, cell)) as _cell_bits,
    from query_table(rel)
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

_mixed as (select * exclude (_b2, _high), _high * 4294967296 + xor(_b2, _b2 >> 16) as _bits from _e),

_draws as (
    select * exclude (_steps, _bits) replace (_poisson_draw(n, _steps, _bits) as n),
    from _mixed
    -- Leaves out the zeros of small means; a condition on the drawn number would draw it twice.
    where coalesce((_bits & 4294967295) / 4294967296e0 >= _steps[1], true)
)

select columns(*),
from _draws;
