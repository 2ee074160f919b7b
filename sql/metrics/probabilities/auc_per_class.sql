-- Area under the ROC curve and average precision of each class against the rest, with their intervals.
-- Grain: one row per run and class of probs, in order of both.
-- Parameters: rel (or a list), level := 0.95, exact := null (true, false; null: up to 250 million probabilities)
-- Edges: NULL label, pred or probs is left out; class absent or alone: NULL; NaN gives NaN; 0 and 1: no interval.
-- Source: scikit-learn; DeLong et al. (1988), Biometrics 44:837; Boyd et al. (2013), ECML PKDD, both on the logit
create or replace macro auc_per_class(rel, level := 0.95, exact := null) as table
-- The ranks of more than 250 million probabilities need more than 16 GB. A histogram needs one pass and little memory,
-- and knows how far it can be off: by the pairs that share a bin. That is max_error, and the intervals reach further by
-- it; their standard error is that of the binned probabilities.
with _sizes as materialized (
    select
        *,
        case
            when coalesce(exact, sum(n) over (partition by run) <= 250_000_000) then 'exact'
            else 'histogram'
        end as method,
    from _class_sizes(rel)
),

_ranked as ( -- noqa: ST03
    from _sizes
    where method = 'exact'
),

_binned as ( -- noqa: ST03
    from _sizes
    where method = 'histogram'
),

_positives as (
    from _exact_ranks(rel, '_ranked')
    union all by name
    from _binned_ranks(rel, '_binned')
),

_counted as (
    select
        _positives.*,
        _sizes.n - _positives.positives as others,
        coalesce(
            lead(_positives.others_above)
                over (partition by _positives.run, _positives.class order by _positives.called),
            _sizes.n - _positives.positives
        ) - _positives.others_called as others_between,
    from _positives
    inner join _sizes
        on _positives.run = _sizes.run
        and _positives.class = _sizes.class
),

-- Of each image the share of the others that are above it, of each other the share of images below it; ties half.
_misses as (
    select
        *,
        (others_above + others_called) / 2 / nullif(others, 0) as above,
        1 - (called - here / 2) / positives as below_tied,
        1 - called / positives as below_between,
        -- The precision at each image of a bin is at most that after the last, with no other called in the bin, and
        -- with all others called first at least this, on average: it rises ever slower from image to image.
        called / (called + others_above) as highest,
        ((called - here + 1) / (called - here + 1 + others_called) + called / last_rank) / 2 as lowest,
    from _counted
),

_sums as (
    select
        run,
        class,
        any_value(positives) as positives,
        any_value(others) as others,
        any_value(has_nan) as has_nan,
        sum(here * above) / nullif(any_value(positives), 0) as missed,
        sum(here * above * above) as image_squares,
        -- Those above all images miss all of them.
        min(others_above) + sum((others_called - others_above) * below_tied ** 2 + others_between * below_between ** 2)
            as other_squares,
        sum(here * case when is_mixed then (highest + lowest) / 2 else called / last_rank end)
        / nullif(any_value(positives), 0) as precision,
        coalesce(sum(here * (others_called - others_above)) filter (where is_mixed), 0)
        / 2 / nullif(any_value(positives) * any_value(others), 0) as area_max_error,
        coalesce(sum(here * (highest - lowest)) filter (where is_mixed), 0)
        / 2 / nullif(any_value(positives), 0) as precision_max_error,
    from _misses
    group by run, class
),

_areas as (
    select
        run,
        class,
        positives,
        case when has_nan then 'nan'::double else 1 - missed end as roc_auc,
        case when has_nan then 'nan'::double else precision end as average_precision,
        area_max_error,
        precision_max_error,
        sqrt(
            greatest(0, image_squares - positives * missed ** 2) / nullif(positives - 1, 0) / positives
            + greatest(0, other_squares - others * missed ** 2) / nullif(others - 1, 0) / nullif(others, 0)
        ) as area_error,
        sqrt(greatest(0, precision * (1 - precision)) / positives) as precision_error,
    from _sums
)

select
    _sizes.class,
    coalesce(_areas.positives, 0) as positives,
    _areas.roc_auc,
    _areas.average_precision,
    _logit_low(_areas.roc_auc - area_max_error, _areas.area_error, level) as roc_auc_low,
    1 - _logit_low(1 - _areas.roc_auc - area_max_error, _areas.area_error, level) as roc_auc_high,
    _logit_low(_areas.average_precision - precision_max_error, _areas.precision_error, level) as average_precision_low,
    1 - _logit_low(1 - _areas.average_precision - precision_max_error, _areas.precision_error, level)
        as average_precision_high,
    _sizes.method,
    _areas.area_max_error as roc_auc_max_error,
    _areas.precision_max_error as average_precision_max_error,
    _sizes.run,
from _sizes
left join _areas
    on _sizes.run = _areas.run
    and _sizes.class = _areas.class
order by _sizes.run, _sizes.class;
