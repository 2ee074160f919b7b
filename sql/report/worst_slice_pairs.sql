-- Where the run is worse in combinations of two columns.
-- Grain: one row per pair of values of at least 20 images, worst lower bound first, at most 20.
-- Parameters: run, keys (of meta), features (columns with more than one value), size_step, bytes_step
-- Edges: p_holm corrects for the number of pairs tested.
-- Source: macro slice_pairs
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
from slice_pairs('sliced', [{% for name in features %}{{ literal(name) }}{{ ', ' if not loop.last }}{% endfor %}])
order by ci_low desc, feature, value
limit 20;
