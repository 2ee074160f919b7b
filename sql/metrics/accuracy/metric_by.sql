-- Any metric of this list for every value of an expression: metric_by('my_run', 'calibration_error', split).
-- Grain: the rows of the metric for each run and value of expr, in order of both; slice is that value.
-- Parameters: rel (or a list), name (a metric of one relation), expr (as accuracy_by), arguments := '' ('n_bins := 10')
-- Edges: as the metric, within each slice; NULL is a value; a slice without answers has a row of the metric for none.
-- Source: definition
create or replace macro metric_by(rel, name, expr, arguments := '') as table
with _answers as (
    select
        * exclude (_is_empty),
        expr as _slice,
    from query(_rel(rel))
    where _is_empty is null
),

_values as materialized (
    select
        run,
        _slice as slice,
        (row_number() over (order by run, _slice))::varchar as key,
    from (select distinct run, _slice from _answers) as _distinct
),

-- To the metric each slice is a run of its own.
_slices as ( -- noqa: ST03
    select
        _answers.* exclude (_slice, run),
        _values.key as run,
    from _answers
    inner join _values
        on _answers.run = _values.run
        and _answers._slice is not distinct from _values.slice
),

_found as (
    select
        *,
        row_number() over () as _row,
    from query(case
        when regexp_full_match(name, '\w+')
            then format('from {}(''_slices''{}{})', name, case when arguments <> '' then ', ' else '' end, arguments)
        else error(format('{} is not the name of a metric; its other arguments go into arguments', name))
    end)
)

select
    _values.slice,
    _found.* exclude (run, _row),
    _values.run,
from _found
inner join _values on _found.run = _values.key
order by _values.run, _values.slice, _found._row;
