-- Weights that each model was last run with.
-- Grain: one row per model.
-- Parameters: none
-- Edges: none
-- Source: this project
select
    model,
    arg_max(weights, started_at) as weights,
from runs
group by model;
