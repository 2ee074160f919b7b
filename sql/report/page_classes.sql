-- Names of the classes of a run, by index; the index itself where a class has no name.
-- Grain: one row per class from 0 to the highest that is known, a label, or predicted.
-- Parameters: run
-- Edges: predictions outside the data set have no row.
-- Source: this project
with _names as (
    select
        classes.class,
        classes.name,
    from runs
    inner join datasets on runs.dataset = datasets.dataset
    inner join classes on datasets.space = classes.space
    where runs.run = {{ literal(run) }}
),

_highest as (
    select max(class) as class
    from (
        select max(class) as class
        from _names
        union all
        select greatest(max(label), max(pred)) as class
        from {{ ident(run) }}
    ) as known
),

_classes as (
    select unnest(range(coalesce(class, -1) + 1)) as class
    from _highest
)

select
    _classes.class,
    coalesce(_names.name, _classes.class::varchar) as name,
from _classes
left join _names on _classes.class = _names.class
order by _classes.class;
