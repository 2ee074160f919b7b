-- Write the clusters found beside the outputs of a run.
-- Grain: one row per output.
-- Parameters: run
-- Edges: an image that was not clustered gets NULL.
-- Source: this project
update outputs.{{ ident(run) }} as outputs
set cluster = (
    select clustered.cluster
    from clustered
    where clustered.image_id = outputs.image_id
);
