-- How many predictions were kept, and how many not.
-- Grain: one row.
-- Parameters: none
-- Edges: none
-- Source: this project
select
    count(*) filter (where problem is null) as n_ok,
    count(*) filter (where problem is not null) as n_errors,
from imported;
