-- Write down a run that is about to start.
-- Grain: one row inserted.
-- Parameters: 1-18 the columns of read_run
-- Edges: status is running.
-- Source: this project
insert into runs (
    run, dataset, model, weights, weights_sha256, model_space, output_space, class_policy, layer, transform,
    precision, device, batch_size, packages, selection, agreement, trusted_pickle, members,
    status
)
values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'running');
