-- The tables of the file are consistent, and no image is in two splits or has two labels.
-- Grain: one row per kind of problem and object, each a violation.
-- Parameters: none
-- Edges: covers all data sets and runs of the file, not only the run that is checked.
-- Source: view check_database
-- severity: warn
select
    problem,
    object,
    n,
from check_database
order by problem, object;
