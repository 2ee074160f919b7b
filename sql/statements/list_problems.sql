-- What does not fit together in this file.
-- Grain: one row per kind of problem and object.
-- Parameters: none
-- Edges: none
-- Source: check_database
select
    problem,
    object,
    n,
from check_database
order by problem, object;
