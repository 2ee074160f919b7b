-- What a run is: model, weights, data, settings, and its newest projection.
-- Grain: one row.
-- Parameters: run
-- Edges: projection columns are NULL without a projection; first and last uri bound the data set's common prefix.
-- Source: this project
with _uris as (
    select
        dataset,
        min(uri) as first_uri,
        max(uri) as last_uri,
    from images
    group by dataset
),

_projection as (
    select
        projection,
        method,
        params,
        seed,
    from projection_specs
    where run = {{ literal(run) }}
    order by created_at desc, projection desc
    limit 1
)

select
    runs.run,
    runs.status,
    runs.dataset,
    datasets.source,
    runs.selection,
    runs.model,
    runs.weights,
    runs.weights_sha256,
    runs.model_space,
    runs.output_space,
    runs.class_policy,
    runs.layer,
    runs.precision,
    runs.device,
    runs.batch_size,
    runs.packages,
    runs.members,
    runs.n_images,
    runs.n_errors,
    runs.started_at,
    runs.finished_at,
    coalesce(label_spaces.n_classes, outputs.n_classes) as n_classes,
    _projection.projection,
    _projection.method,
    _projection.params,
    _projection.seed,
    _uris.first_uri,
    _uris.last_uri,
from runs
left join datasets on runs.dataset = datasets.dataset
left join label_spaces on datasets.space = label_spaces.space
left join label_spaces as outputs on runs.output_space = outputs.space
left join _uris on runs.dataset = _uris.dataset
left join _projection on true
where runs.run = {{ literal(run) }};
