-- What does not fit together in this file.
-- Grain: one row per kind of problem; an example of the objects it concerns.
-- Parameters: none
-- Edges: no rows when all is well.
-- Source: view check_database
select
    problem,
    count(*) as n_objects,
    sum(n) as n,
    min(object) as example,
from check_database
group by problem
order by n desc, problem;
