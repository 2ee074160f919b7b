-- Recall of every class in the run less that in the baseline, on the images that both answered.
-- Grain: one row per class, the largest difference first.
-- Parameters: run, baseline
-- Edges: as compare_classes; p_holm corrects the exact test for the number of classes.
-- Source: macro compare_classes
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
    _found.class,
    coalesce(_names.name, _found.class::varchar) as name,
    _found.n,
    _found.recall_a,
    _found.recall_b,
    _found.diff,
    _found.ci_low,
    _found.ci_high,
    _found.a_only,
    _found.b_only,
    _found.p_value,
    _found.p_holm,
from compare_classes({{ literal(baseline) }}, {{ literal(run) }}) as _found
left join _names on _found.class = _names.class
order by abs(_found.diff) desc, _found.n desc, _found.class;
