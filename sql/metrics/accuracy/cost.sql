-- What the answers cost by a table of costs: the mean per image, with its interval.
-- Grain: one row per run.
-- Parameters: rel (or a list), costs (label, pred, cost; by number, or by name where its label is text), level := 0.95
-- Edges: NULL label or pred is left out; right answers cost 0 unless listed; a mistake that is not listed is an error.
-- Source: Elkan (2001), The Foundations of Cost-Sensitive Learning, IJCAI; interval: _mean_low
create or replace macro cost(rel, costs, level := 0.95) as table
with _costs as materialized (
    select
        label::varchar as label,
        pred::varchar as pred,
        typeof(label) = 'VARCHAR' as is_named,
        max(cost)::double as cost,
        case
            when count(*) > 1 then error(format(
                'the costs list label {} with prediction {} {} times: list it once',
                label::varchar, pred::varchar, count(*)
            ))
            when coalesce(not isfinite(max(cost)::double), true) then error(format(
                'the cost of prediction {} for label {} is not a number', pred::varchar, label::varchar
            ))
            else true
        end as is_sound,
    from query_table(costs)
    group by label, pred
),

_limits as (
    select
        least(0e0, min(cost)) as lowest,
        greatest(0e0, max(cost)) as highest,
        bool_or(is_named) as are_named,
    from _costs
    where is_sound
),

_cells as (
    select
        run,
        case when are_named then coalesce(label_name, label::varchar) else label::varchar end as label,
        case when are_named then coalesce(pred_name, pred::varchar) else pred::varchar end as pred,
        _correct(label, pred) as is_right,
        count(*) as n,
    from _images(rel)
    cross join _limits
    where label is not null
        and pred is not null
    group by all
),

_priced as (
    select
        _cells.run,
        _cells.n,
        case
            when _costs.cost is null and not _cells.is_right
                then error(format(
                    'the costs do not list label {} with prediction {}', _cells.label, _cells.pred
                ))::double
            else coalesce(_costs.cost, 0)
        end as price,
        case when not _cells.is_right then _cells.n else 0 end as n_wrong,
    from _cells
    left join _costs
        on _cells.label = _costs.label
        and _cells.pred = _costs.pred
),

_sums as (
    select
        _runs.run,
        coalesce(sum(_priced.n), 0)::bigint as n,
        coalesce(sum(_priced.n_wrong), 0)::bigint as n_wrong,
        sum(_priced.n * _priced.price) as total,
        sum(_priced.n * (_priced.price - _limits.lowest)) as above,
        sum(_priced.n * (_priced.price - _limits.lowest) ** 2) as squares,
        any_value(_limits.highest - _limits.lowest) as largest,
        any_value(_limits.lowest) as lowest,
    from (select distinct run from query(_rel(rel))) as _runs
    cross join _limits
    left join _priced on _runs.run = _priced.run
    group by _runs.run
)

select
    n,
    n_wrong,
    total as total_cost,
    total / nullif(n, 0) as mean_cost,
    lowest + _mean_low(n, above, squares, largest, level) as ci_low,
    lowest + _mean_high(n, above, squares, largest, level) as ci_high,
    run,
from _sums
order by run;
