-- What made a run.
-- Grain: one row or none.
-- Parameters: 1 run
-- Edges: none
-- Source: this project
select
    run,
    dataset,
    model,
    weights,
    weights_sha256,
    model_space,
    output_space,
    class_policy,
    layer,
    transform,
    precision,
    device,
    batch_size,
    packages,
    selection,
    agreement,
    trusted_pickle,
    members,
from runs
where run = ?;
