-- Recall with its 95 % Wilson interval, precision and F1 of every class, lowest recall first.
-- Grain: one row per class.
-- Parameters: run
-- Edges: a class without labelled images has no recall, one that is never predicted no precision: NULL, last.
-- Source: macro per_class
with _names as (
    select
        classes.class,
        classes.name,
    from runs
    inner join datasets on runs.dataset = datasets.dataset
    inner join classes on datasets.space = classes.space
    where runs.run = {{ literal(run) }}
)

select
    per_class.class,
    coalesce(_names.name, per_class.class::varchar) as name,
    per_class.support as n,
    per_class.predicted,
    per_class.tp as correct,
    per_class.recall,
    per_class.recall_low,
    per_class.recall_high,
    per_class.precision,
    per_class.f1,
from per_class({{ literal(run) }}, zero_division := null) as per_class
left join _names on per_class.class = _names.class
order by per_class.support = 0, per_class.recall, per_class.support desc, per_class.class;
