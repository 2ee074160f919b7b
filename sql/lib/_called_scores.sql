-- The probabilities by class that decide ranks: those not below all of the images of the class.
-- Grain: one row per image and class, but for those below, whose ranks do not count.
-- Parameters: rel, sizes (a relation: rows of _class_sizes; runs that it lacks are not read)
-- Edges: NULL label, pred or probs is left out; NaN is above every number; image is a number within this query.
-- Source: definition
create or replace macro _called_scores(rel, sizes) as table
with _lowest as (
    select
        run,
        list(lowest order by class) as lowest,
    from query_table(sizes)
    group by run
),

_lists as (
    select
        answers.run,
        answers.label,
        row_number() over () as image,
        -- Unnesting an array, which is what runs store, takes 40 times as long as unnesting a list.
        answers.probs::double[] as probs,
        _lowest.lowest,
    from query(_rel(rel)) as answers
    inner join _lowest on answers.run = _lowest.run
    where answers.label is not null
        and answers.pred is not null
        and answers.probs is not null
),

_scored as (
    select
        run,
        image,
        label,
        unnest(probs) as p,
        unnest(lowest) as lowest,
        generate_subscripts(lowest, 1) - 1 as class,
    from _lists
)

select
    run,
    image,
    label,
    class,
    p,
from _scored
where p >= lowest;
