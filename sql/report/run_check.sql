-- Rows of the run that do not fit together.
-- Grain: one row.
-- Parameters: run, probs (whether the run has that column)
-- Edges: without probs only the counts that need none.
-- Source: macro check_run
{% if not probs %}
with answers as ( -- noqa: ST03
    select
        image_id,
        label,
        pred,
        confidence,
        null::float[] as probs,
    from {{ ident(run) }}
)

{% endif %}
select
    n,
    duplicate_images,
    no_label,
    no_prediction,
    outside_classes,
    no_confidence,
{% if probs %}
    no_probs,
    other_length,
    label_out_of_range,
    nan_probs,
    outside_0_1,
    sum_not_1,
    pred_not_argmax,
    confidence_differs,
{% endif %}
from check_run({{ literal(run if probs else 'answers') }});
