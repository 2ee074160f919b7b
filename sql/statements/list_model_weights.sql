-- Weights that each model was last run with, and the label space of its outputs.
-- Grain: one row per model.
-- Parameters: none
-- Edges: none
-- Source: this project
select
    model,
    arg_max(weights, started_at) as weights,
    arg_max(model_space, started_at) as model_space,
from runs
group by model;
