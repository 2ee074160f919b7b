-- The number of a class, given as a number or by its name, or an error that says what is there.
-- Grain: one row per run with answers that have probabilities.
-- Parameters: rel, cls
-- Edges: names are those of label_name and pred_name; a class that is in neither has to be given as a number.
-- Source: definition
create or replace macro _class_of(rel, cls) as table
with _widths as (
    select
        run,
        max(len(probs)) as width,
    from query(_rel(rel))
    where label is not null
        and pred is not null
        and probs is not null
    group by run
),

_named as (
    select run, label as class from query(_rel(rel)) where label_name = cls::varchar and typeof(cls) = 'VARCHAR'
    union
    select run, pred as class from query(_rel(rel)) where pred_name = cls::varchar and typeof(cls) = 'VARCHAR'
),

_classes as (
    select
        _widths.run,
        _widths.width,
        case when typeof(cls) = 'VARCHAR' then min(_named.class) else try_cast(cls::varchar as bigint) end as class,
    from _widths
    left join _named on _widths.run = _named.run
    group by _widths.run, _widths.width
)

select
    run,
    case
        when class is null
            then error(format('{} has no class named {} in its answers: give its number', run, cls::varchar))
        when class < 0 or class >= width
            then error(format('{} has no class {}: its classes are 0 to {}', run, class, width - 1))
        else class
    end as class,
from _classes;
