-- The whole data frame of one run: images, labels, outputs, correct, coordinates.
-- Grain: one row per image with an output.
-- Parameters: run, names (of the output columns)
-- Edges: label is NULL in another label space; other bytes are left out; pred -1 is wrong; accepted [] is neither.
-- Source: this project
{% set known = ['image_id', 'sha256', 'pred', 'confidence', 'probs', 'raw_pred', 'raw_confidence', 'inside', 'activation', 'cluster'] %}
create or replace view {{ ident(run) }} as
select
    images.image_id,
    images.dataset,
    images.uri,
    images.split,
    labels.class as label,
    labels.name as label_name,
{% if 'pred' in names %}
    outputs.pred,
    preds.name as pred_name,
{% endif %}
{% if 'confidence' in names %}
    outputs.confidence,
{% endif %}
{% if 'pred' in names %}
    case
        when images.accepted is null then outputs.pred = labels.class
        when runs.output_space = datasets.space and images.accepted <> [] then outputs.pred in images.accepted
    end as correct,
{% endif %}
{% if 'probs' in names %}
    outputs.probs,
{% endif %}
{% if 'raw_pred' in names %}
    outputs.raw_pred,
    raw_preds.name as raw_pred_name,
    outputs.raw_confidence,
    outputs.inside,
{% endif %}
{% if 'activation' in names %}
    outputs.activation,
{% endif %}
{% for name in names if name not in known %}
    outputs.{{ ident(name) }},
{% endfor %}
    points.x,
    points.y,
    {{ 'outputs.cluster' if 'cluster' in names else 'null::integer as cluster' }},
    images.sha256,
    images.n_bytes,
    images.format,
    images.width_px,
    images.height_px,
    images.width_px / nullif(images.height_px, 0) as aspect,
    images.brightness,
    images.contrast,
    images.sharpness,
    images.colourfulness,
    images.entropy,
    case when runs.output_space = datasets.space then images.accepted end as accepted,
    images.meta,
from outputs.{{ ident(run) }} as outputs
inner join images on outputs.image_id = images.image_id and outputs.sha256 = images.sha256
inner join runs on runs.run = {{ literal(run) }}
inner join datasets on images.dataset = datasets.dataset
left join classes as labels
    on datasets.space = labels.space and runs.output_space = labels.space and images.label = labels.class
{% if 'pred' in names %}
left join classes as preds on runs.output_space = preds.space and outputs.pred = preds.class
{% endif %}
{% if 'raw_pred' in names %}
left join classes as raw_preds on runs.model_space = raw_preds.space and outputs.raw_pred = raw_preds.class
{% endif %}
left join (
    select projections.image_id, projections.x, projections.y
    from projections
    semi join (
        select arg_max(specs.projection, specs.created_at) as projection
        from projection_specs as specs where specs.run = {{ literal(run) }}
    ) as newest on projections.projection = newest.projection
    where projections.run = {{ literal(run) }}
) as points on outputs.image_id = points.image_id;
