-- The temperature with the least log loss of softmax(margins / temperature), by Newton's method in a bracket.
-- Grain: one row.
-- Parameters: rel (of _log_margins; read once per step)
-- Edges: kept in 0.01..100: all right gives 0.01, worse than chance 100; one class 1; NaN gives NaN; no rows NULL.
-- Source: Guo et al. (2017), On Calibration of Modern Neural Networks, ICML; the log loss is convex in 1 / temperature
create or replace macro _best_temperature(rel) as table
-- Slope of the log loss along beta = 1 / temperature, at 0 and at infinity. It increases with beta, so there is a
-- minimum between them if and only if the first is negative and the last positive.
with recursive _ends as (
    select
        avg(list_avg(margins) - label_margin) as first_slope,
        avg(-label_margin) as last_slope,
    from query_table(rel)
),

_search as (
    select
        0 as step,
        1e0 as beta,
        0.01e0 as low,
        100e0 as high,
        first_slope < 0 and last_slope > 0 and not isnan(last_slope) as goes_on,
    from _ends
    union all
    (
        with _powers as (
            select
                step, beta, low, high, label_margin, margins,
                list_transform(margins, lambda _z: exp(beta * _z)) as powers,
            from _search
            cross join query_table(rel)
            where goes_on
        ),

        _moments as (
            select
                step, beta, low, high, label_margin,
                list_inner_product(powers, margins) / list_sum(powers) as mean,
                list_inner_product(powers, list_transform(margins, lambda _z: _z * _z)) / list_sum(powers) as square,
            from _powers
        ),

        _newton as (
            select
                step, beta,
                case when avg(mean - label_margin) <= 0 then beta else low end as low,
                case when avg(mean - label_margin) >= 0 then beta else high end as high,
                beta - avg(mean - label_margin) / nullif(avg(square - mean * mean), 0) as guess,
            from _moments
            group by step, beta, low, high
        )

        select
            step + 1 as step,
            -- A Newton step outside of the bracket is replaced by a bisection on the logarithmic scale.
            case when guess between low and high then guess else sqrt(low * high) end as next,
            low,
            high,
            abs(next / beta - 1) > 1e-6 and step < 100 as goes_on,
        from _newton
    )

)

select
    case
        when isnan(any_value(_ends.last_slope)) then 'nan'::double
        when any_value(_ends.last_slope) > 0 and any_value(_ends.first_slope) >= 0 then 100
        when any_value(_ends.last_slope) = 0 and any_value(_ends.first_slope) < 0 then 0.01
        when any_value(_ends.last_slope) is not null then 1 / nullif(arg_max(_search.beta, _search.step), 0)
    end as temperature,
from _search
cross join _ends;
