-- Write down which outputs of a mapped run count as which class.
-- Grain: one row per mapped output.
-- Parameters: 1 run, 2 model space, 3 output space, 4 outputs, 5 classes
-- Edges: outputs outside the data set have no row.
-- Source: this project
insert into class_map (run, from_space, from_class, to_space, to_class)
with _given as (
    select
        ? as run,
        ? as from_space,
        ? as to_space,
        ?::integer [] as outputs,
        ?::integer [] as classes,
)

select
    run,
    from_space,
    unnest(outputs) as from_class,
    to_space,
    unnest(classes) as to_class,
from _given;
