-- Slices: whether the run is worse on some values of the columns of the images.

-- name: slice_columns
-- How many values the columns of the images have, and how widely their sizes spread (5th to 95th percentile).
select
    count(distinct split) + max((split is null)::integer) as n_splits,
    count(distinct format) as n_formats,
    count(distinct sign(width_px - height_px)) as n_shapes,
    quantile_cont(least(width_px, height_px), 0.95) - quantile_cont(least(width_px, height_px), 0.05) as size_spread,
    (quantile_cont(n_bytes, 0.95) - quantile_cont(n_bytes, 0.05)) / 1000 as bytes_spread,
from {{ ident(run) }};


-- name: meta_keys
-- Keys of meta with 2 to 30 values in the first 20,000 images, at most 12: columns to slice by.
with _first as (
    select meta
    from {{ ident(run) }}
    where meta is not null
    order by image_id
    limit 20000
),

_pairs as (
    select
        unnest(json_keys(meta)) as name,
        meta,
    from _first
)

select
    name,
    count(distinct json_extract_string(meta, '$."' || name || '"')) as n_values,
from _pairs
where not regexp_matches(name, '["\\]')
group by name
having count(distinct json_extract_string(meta, '$."' || name || '"')) between 2 and 30
order by name
limit 12;


-- name: slice_table
-- Error rates by split, format, shape, size and the keys of meta: values of at least 20 images, worst first.
-- p_holm corrects for the number of slices tested.
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
    n_wrong,
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


-- name: slice_pair_table
-- Error rates in combinations of two columns: pairs of values of at least 20 images, worst first.
-- p_holm corrects for the number of pairs tested.
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
    n_wrong,
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
