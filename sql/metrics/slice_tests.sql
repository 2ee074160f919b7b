-- Tests of counted slices against the rest, corrected for their number.
-- Grain: one row per slice of at least min_n images, worst lower bound first.
-- Parameters: rel (a relation of feature, value, n, errors, all_n, all_errors), min_n
-- Edges: a slice of everything, or all or none wrong: no test (NULL), and not counted in the correction.
-- Source: pooled z; Holm (1979), Scand. J. Stat. 6:65-70; Benjamini & Hochberg (1995), J. R. Stat. Soc. B 57:289-300.
create or replace macro slice_tests(rel, min_n) as table
with _slices as materialized (
    select
        feature,
        value,
        n,
        errors,
        errors / nullif(n, 0) as error_rate,
        all_errors / nullif(all_n, 0) as base_rate,
        two_proportion_z(errors, n, all_errors - errors, all_n - n) as z,
    from query_table(rel)
    where n >= min_n
),

_tests as (
    select
        *,
        2 * norm_sf(abs(z)) as p_value,
    from _slices
),

_ranked as (
    select
        *,
        row_number() over (order by p_value nulls last) as place,
        count(p_value) over () as tests,
    from _tests
)

select
    feature,
    value,
    n,
    errors,
    error_rate,
    wilson_low(errors, n, 0.95) as ci_low,
    wilson_high(errors, n, 0.95) as ci_high,
    error_rate / nullif(base_rate, 0) as lift,
    error_rate - base_rate as diff,
    errors - n * base_rate as excess_errors,
    z,
    p_value,
    case
        when p_value is not null
            then least(1e0, max(p_value * (tests - place + 1)) over (order by place rows unbounded preceding))
    end as p_holm,
    case
        when p_value is not null
            then least(1e0, min(p_value * tests / place) over (order by place desc rows unbounded preceding))
    end as p_bh,
from _ranked
order by ci_low desc, feature asc, value asc;
