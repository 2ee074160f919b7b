-- Slices: whether the run is worse on some values of the columns of the images.
-- `cuts` are columns with their values, each value with a condition over the columns of the run.

-- name: slice_keys
-- Names of the keys of meta in its first 20,000 images, in order, and whether the page can write a condition on them.
with _first as (
    select meta
    from {{ ident(run) }}
    where meta is not null
    order by image_id
    limit 20000
),

_keys as (
    select unnest(json_keys(meta)) as name
    from _first
)

select
    name,
    length(name) between 1 and 100
    and not regexp_matches(name, '["\\[:cntrl:]]') as is_plain,
    (
        select count(*)
        from _first
    ) as n_read,
from _keys
group by name
order by name;


-- name: slice_check
-- Nothing, if an expression can be a condition over the columns of the run.
select image_id
from {{ ident(run) }}
where (
    {{ where }}
) is null
order by image_id
limit 0;


-- name: slice_unsteady
-- How many images an expression has two values for when it is computed twice, such as one with random().
select count(*) as n
from {{ ident(run) }}
where (
    {{ expression }}
) is distinct from (
    {{ expression }}
);


-- name: slice_decides
-- Whether each value of an expression (of at most 30) has right answers only or wrong ones, although the run has both.
select
    count(*) filter (where n_right > 0 and n_wrong > 0) = 0
    and sum(n_right) > 0
    and sum(n_wrong) > 0
    and count(*) <= 31 as decides,
from (
    select
        count(*) filter (where correct) as n_right,
        count(*) filter (where not correct) as n_wrong,
    from {{ ident(run) }}
    group by ({{ expression }})
) as known;


-- name: slice_kinds
-- What the values of expressions are, without listing them; the number of values is an estimate.
select
{% for text in expressions %}
    approx_count_distinct(value_{{ loop.index0 }}) as n_values_{{ loop.index0 }},
    coalesce(bool_and(isfinite(try_cast(value_{{ loop.index0 }} as double)) is true)
        filter (where value_{{ loop.index0 }} is not null), false) as is_number_{{ loop.index0 }},
    coalesce(bool_and(regexp_matches(value_{{ loop.index0 }}, '^[0-9]{4}-[0-9]{2}-[0-9]{2}')), false)
        as is_day_{{ loop.index0 }},
{% endfor %}
from (
    select
{% for text in expressions %}
        ({{ text }})::varchar as value_{{ loop.index0 }},
{% endfor %}
    from {{ ident(run) }}
) as _values;


-- name: slice_candidates
-- The values of expressions: how many (NULL is one), of which type, and the first of them in order.
with _values as materialized (
    select
{% for text in expressions %}
        ({{ text }}) as value_{{ loop.index0 }},
{% endfor %}
    from {{ ident(run) }}
)

{% for text in expressions %}
select
    {{ loop.index0 }} as feature,
    count(*) as n_values,
    coalesce(bool_or(value is null), false) as has_null,
    coalesce(max(length(value)), 0) as longest,
    any_value(type) as type,
    min(left(value, 201), 31) as first_values,
from (
    select
        value_{{ loop.index0 }}::varchar as value,
        any_value(typeof(value_{{ loop.index0 }})) as type,
    from _values
    group by all
) as _grouped_{{ loop.index0 }}
{{ 'union all' if not loop.last }}
{% endfor %}
order by feature;


-- name: slice_limits
-- Where the lowest and the highest fifth of numbers end, and which values stand beside these ends.
with _values as materialized (
    select
{% for text in expressions %}
        ({{ text }})::double as value_{{ loop.index0 }},
{% endfor %}
    from {{ ident(run) }}
)

{% for text in expressions %}
select
    {{ loop.index0 }} as feature,
    _ends.shares,
    _ends.low,
    _ends.high,
    count(value) as n,
    count(*) filter (where value < _ends.low) as n_below_low,
    count(*) filter (where value <= _ends.low) as n_up_to_low,
    max(value) filter (where value < _ends.low) as before_low,
    min(value) filter (where value > _ends.low) as after_low,
    count(*) filter (where value < _ends.high) as n_below_high,
    count(*) filter (where value <= _ends.high) as n_up_to_high,
    max(value) filter (where value < _ends.high) as before_high,
    min(value) filter (where value > _ends.high) as after_high,
from (
    select case when isfinite(value_{{ loop.index0 }}) then value_{{ loop.index0 }} end as value
    from _values
) as _finite_{{ loop.index0 }}
cross join (
    select
        quantile_cont(value_{{ loop.index0 }}, [0.17, 0.2, 0.23, 0.77, 0.8, 0.83]) as shares,
        quantile_disc(value_{{ loop.index0 }}, 0.2) as low,
        quantile_disc(value_{{ loop.index0 }}, 0.8) as high,
    from _values
    where isfinite(value_{{ loop.index0 }})
) as _ends
group by all
{{ 'union all' if not loop.last }}
{% endfor %}
order by feature;


-- name: slice_same
-- How many values an expression, the label and the split have, alone and together: equal numbers are one column.
select
    count(distinct row(value)) as n_values,
    count(distinct row(label)) as n_labels,
    count(distinct row(value, label)) as n_with_label,
    count(distinct row(split)) as n_splits,
    count(distinct row(value, split)) as n_with_split,
from (
    select
        label,
        split,
        ({{ expression }}) as value,
    from {{ ident(run) }}
) as _values;


-- name: slice_table
-- Accuracy in every slice of at least 20 images, tested against the rest; worst first.
-- p_holm corrects for n_looks, the number of slices tested.
with sliced as materialized (
    select
        image_id,
        not _correct(label, pred) as is_wrong,
{% for cut in cuts %}
        case
{% for value, condition in cut['values'] %}
            when {{ condition }} then {{ literal(value) }}
{% endfor %}
        end as slice_{{ loop.index0 }},
{% endfor %}
    from {{ ident(run) }}
    where label is not null
        and pred is not null
),

_both as materialized (
    select
        sliced.*,
        {{ '_baseline.is_right' if baseline else 'null::boolean' }} as baseline_is_right,
    from sliced
{% if baseline %}
    left join (
        select
            image_id,
            _correct(label, pred) as is_right,
        from {{ ident(baseline) }}
    ) as _baseline on sliced.image_id = _baseline.image_id
{% endif %}
),

_counts as materialized (
{% for cut in cuts %}
    select
        {{ loop.index0 }} as position,
        {{ literal(cut['name']) }} as feature,
        slice_{{ loop.index0 }} as value,
        count(*) as n,
        count(*) filter (where is_wrong) as n_wrong,
        avg(baseline_is_right::integer) as baseline_accuracy,
        count(baseline_is_right) as n_baseline,
    from _both
    where slice_{{ loop.index0 }} is not null
    group by all
{{ '    union all' if not loop.last }}
{% endfor %}
),

_whole as (
    select
        count(*) as n,
        count(*) filter (where is_wrong) as n_wrong,
    from sliced
),

_slices as materialized ( -- noqa: ST03
    select
        {{ literal(run) }} as run,
        _counts.feature,
        _counts.value,
        _counts.n,
        _counts.n_wrong,
        [struct_pack(n := _whole.n, n_wrong := _whole.n_wrong)] as wholes,
    from _counts
    cross join _whole
)

select
    _tests.feature,
    _tests.value,
    _tests.n,
    _tests.n_wrong,
    (_tests.n - _tests.n_wrong) / _tests.n as accuracy,
    wilson_low(_tests.n - _tests.n_wrong, _tests.n, 0.95) as ci_low,
    wilson_high(_tests.n - _tests.n_wrong, _tests.n, 0.95) as ci_high,
    ((_whole.n - _whole.n_wrong) - (_tests.n - _tests.n_wrong)) / nullif(_whole.n - _tests.n, 0) as accuracy_rest,
    _tests.p_value,
    _tests.p_holm,
    count(_tests.p_holm) over () as n_looks,
    _counts.baseline_accuracy,
    _counts.n_baseline,
from _slice_tests('_slices', 20) as _tests
inner join _counts on _tests.feature = _counts.feature and _tests.value = _counts.value
cross join _whole
order by _tests.p_holm nulls last, accuracy, _counts.position, _tests.value
limit 300;


-- name: slice_mistakes
-- Up to five wrong answers of every slice, the most confident first.
with sliced as materialized (
    select
        image_id,
        case when not isnan(confidence::double) then confidence end as certainty,
{% for cut in cuts %}
        case
{% for value, condition in cut['values'] %}
            when {{ condition }} then {{ literal(value) }}
{% endfor %}
        end as slice_{{ loop.index0 }},
{% endfor %}
    from {{ ident(run) }}
    where not _correct(label, pred)
)

{% for cut in cuts %}
select
    {{ literal(cut['name']) }} as feature,
    slice_{{ loop.index0 }} as value,
    list(image_id order by certainty desc nulls last, image_id)[:5] as image_ids,
from sliced
where slice_{{ loop.index0 }} is not null
group by all
{{ 'union all' if not loop.last }}
{% endfor %}
order by feature, value;


-- name: slice_codes
-- The slice that each image is in by each column: its place in the list of values, -1 for none; in order of image_id.
select
    image_id,
{% for cut in cuts %}
    case
{% for value, condition in cut['values'] %}
        when {{ condition }} then {{ loop.index0 }}
{% endfor %}
        else -1
    end::tinyint as slice_{{ loop.index0 }},
{% endfor %}
from {{ ident(run) }}
order by image_id;


-- name: slice_pair_table
-- Error rates in combinations of two columns: pairs of values of at least 20 images, worst first.
-- p_holm corrects for the number of pairs tested; NULL is no slice of that column.
with sliced as ( -- noqa: ST03
    select
        label,
        pred,
{% for cut in cuts %}
        case
{% for value, condition in cut['values'] %}
            when {{ condition }} then {{ literal(value) }}
{% endfor %}
        end as {{ ident(cut['name']) }},
{% endfor %}
    from {{ ident(run) }}
)

select
    feature,
    value,
    n,
    n_wrong,
    1 - error_rate as accuracy,
    1 - ci_high as ci_low,
    1 - ci_low as ci_high,
    p_holm,
from slice_pairs('sliced', [{% for cut in cuts %}{{ literal(cut['name']) }}{{ ', ' if not loop.last }}{% endfor %}])
where not regexp_matches(value, '(^| × )NULL( × |$)')
order by p_holm nulls last, accuracy, feature, value
limit 20;
