-- Classes one by one.

-- name: class_table
-- Recall with its 95 % Wilson interval, precision and F1 of every class, lowest recall first.
-- A class without labeled images has no recall, one that is never predicted no precision: NULL, last.
select
    per_class.class,
    coalesce(names.name, per_class.class::varchar) as name,
    per_class.support as n,
    per_class.predicted,
    per_class.tp as correct,
    per_class.recall,
    per_class.recall_low,
    per_class.recall_high,
    per_class.precision,
    per_class.f1,
from per_class({{ literal(run) }}, zero_division := null) as per_class
left join class_names as names on names.run = {{ literal(run) }} and per_class.class = names.class
order by per_class.support = 0, per_class.recall, per_class.support desc, per_class.class;


-- name: page_classes
-- Names of the classes of a run from 0 to the highest one; the index where a class has no name.
with _highest as (
    select max(class) as class
    from (
        select max(class) as class
        from class_names
        where run = {{ literal(run) }}
        union all
        select greatest(max(label), max(pred)) as class
        from {{ ident(run) }}
    ) as known
),

_classes as (
    select
        unnest(range(
            case
                when class >= 1000000 then error('a page shows at most 1,000,000 classes; the run has a class ' || class)
                else coalesce(class, -1) + 1
            end
        )) as class,
    from _highest
)

select
    _classes.class,
    coalesce(left(names.name, 500), _classes.class::varchar) as name,
from _classes
left join class_names as names on names.run = {{ literal(run) }} and _classes.class = names.class
order by _classes.class;
