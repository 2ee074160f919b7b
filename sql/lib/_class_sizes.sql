-- The classes of probs: images that have a probability of each, and the lowest that an image of the class has.
-- Grain: one row per run and class of probs.
-- Parameters: rel
-- Edges: NULL label, pred or probs is left out; lowest is NULL for a class without images; NaN is above all numbers.
-- Source: definition
create or replace macro _class_sizes(rel) as table
with _labels as materialized (
    select
        run,
        label,
        len(probs) as width,
        count(*) as n,
        min(_p_of(probs, label)) as lowest,
    from _images(rel)
    where label is not null
        and pred is not null
        and probs is not null
    group by run, label, width
),

_classes as (
    select
        run,
        unnest(range(max(width))) as class,
    from _labels
    group by run
)

select
    _classes.run,
    _classes.class,
    coalesce(sum(_labels.n) filter (where _labels.width > _classes.class), 0)::bigint as n,
    min(_labels.lowest) filter (where _labels.label = _classes.class)::double as lowest,
from _classes
inner join _labels on _classes.run = _labels.run
group by _classes.run, _classes.class;
