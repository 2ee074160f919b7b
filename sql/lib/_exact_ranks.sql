-- How many images are called at each probability of the images of a class, from the ranks of all: n log n, all kept.
-- Grain: one row per run, class and distinct probability of the images of the class.
-- Parameters: rel, sizes (a relation: rows of _class_sizes; runs that it lacks are not read)
-- Edges: as _called_scores; called, last_rank: those of the class, and all, that are not below; others_*: the rest.
-- Source: definition
create or replace macro _exact_ranks(rel, sizes) as table
with _ranked as (
    select
        run,
        class,
        label = class as is_positive,
        p,
        rank() over (partition by run, class order by p desc) as first_rank,
        count(*) over (partition by run, class order by p desc) as last_rank,
        isnan(max(p) over (partition by run, class)) as has_nan,
    from _called_scores(rel, sizes)
)

select
    run,
    class,
    any_value(has_nan) as has_nan,
    count(*) as here,
    sum(count(*)) over (partition by run, class order by first_rank)::bigint as called,
    sum(count(*)) over (partition by run, class)::bigint as positives,
    any_value(last_rank) as last_rank,
    first_rank - 1 - (called - here) as others_above,
    any_value(last_rank) - called as others_called,
    false as is_mixed,
from _ranked
where is_positive
group by run, class, first_rank;
