-- Whether two runs compare.
-- Grain: one row, or none when it is one run.
-- Parameters: 1 run, 2 baseline
-- Edges: none
-- Source: view comparable
select
    reason,
    n_both,
from comparable
where run = ?
    and baseline = ?;
