-- Error rates of tested slices with intervals, and their p-values corrected for the number of tests.
-- Grain: one row per slice, worst lower bound first.
-- Parameters: rel (of feature, value, n, errors, base_rate, z, p_value; weight of its test, 1 on average)
-- Edges: a p_value of NULL stays NULL and is not counted in the correction; intervals are 95 % Wilson intervals.
-- Source: Holm (1979), Scand. J. Stat. 6:65-70; BH weighted by Genovese, Roeder & Wasserman (2006), Biometrika 93:509.
create or replace macro slice_figures(rel) as table
with _placed as (
    select
        *,
        row_number() over (order by p_value / weight nulls last) as place,
        count(p_value) over () as tests,
    from query_table(rel)
),

_ranked as (
    select
        *,
        errors / nullif(n, 0) as error_rate,
        sum(case when p_value is not null then weight end)
            over (order by place rows between current row and unbounded following) as weight_left,
    from _placed
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
            then least(1e0, max(p_value / weight * weight_left) over (order by place rows unbounded preceding))
    end as p_holm,
    case
        when p_value is not null
            then least(1e0, min(p_value / weight * tests / place) over (order by place desc rows unbounded preceding))
    end as p_bh,
from _ranked
order by ci_low desc, feature asc, value asc;
