-- How many rows were kept, how many not, and how many of those kept have a prediction.
-- Grain: one row.
-- Parameters: none
-- Edges: none
-- Source: this project
select
    count(*) filter (where problem is null) as n_ok,
    count(*) filter (where problem is not null) as n_errors,
    count(pred) filter (where problem is null) as n_predicted,
from _imported;
