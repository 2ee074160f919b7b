-- The tables of the file fit together, and no image is in two splits or under two labels.
-- Grain: one row per kind of problem and object, each a violation.
-- Parameters: none
-- Edges: looks at all data sets and runs of the file, not only at the run that is checked.
-- Source: view check_database
-- severity: warn
select
    problem,
    object,
    n,
from check_database
order by problem, object;
