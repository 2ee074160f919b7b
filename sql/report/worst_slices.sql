-- Where the run is worse: error rates by split, format, shape, size and the data set's own columns.
-- Grain: one row per column and value of at least 20 images, worst lower bound first, at most 60.
-- Parameters: run, keys (of meta), features (columns with more than one value), size_step, bytes_step
-- Edges: p_holm corrects for the number of slices tested.
-- Source: macro slices
with sliced as ( -- noqa: ST03
    select
        label,
        pred,
        split,
        format,
        case
            when width_px > height_px then 'landscape' when width_px < height_px then 'portrait' else 'square'
        end as shape,
        bucket(least(width_px, height_px), {{ size_step }}) as shorter_side_px,
        bucket(n_bytes / 1000, {{ bytes_step }}) as file_size_kb,
{% for key in keys %}
        json_extract_string(meta, {{ literal('$."' ~ key ~ '"') }}) as {{ ident(key) }},
{% endfor %}
    from {{ ident(run) }}
)

select
    feature,
    value,
    n,
    errors,
    error_rate,
    ci_low,
    ci_high,
    lift,
    diff,
    excess_errors,
    p_value,
    p_holm,
from slices('sliced', [{% for name in features %}{{ literal(name) }}{{ ', ' if not loop.last }}{% endfor %}])
order by ci_low desc, feature, value
limit 60;
