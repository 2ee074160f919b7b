-- Area under the ROC curve and average precision of each class against the rest, with their intervals.
-- Grain: one row per run and class of probs, in order of both.
-- Parameters: rel (or a list), level := 0.95
-- Edges: NULL label, pred or probs is left out; class absent or alone: NULL; NaN gives NaN; 0 and 1: no interval.
-- Source: scikit-learn; DeLong et al. (1988), Biometrics 44:837; Boyd et al. (2013), ECML PKDD, both on the logit
create or replace macro auc_per_class(rel, level := 0.95) as table
with _sizes as materialized (
    from _class_sizes(rel)
),

_ranked as (
    select
        run,
        class,
        label = class as is_positive,
        p,
        rank() over (partition by run, class order by p desc) as first_rank,
        count(*) over (partition by run, class order by p desc) as last_rank,
        isnan(max(p) over (partition by run, class)) as has_nan,
    from _called_scores(rel)
),

-- One row per class and distinct probability of its images: how many there are, and how many with all above them.
_positives as (
    select
        run,
        class,
        any_value(has_nan) as has_nan,
        count(*) as here,
        sum(count(*)) over (partition by run, class order by first_rank)::bigint as called,
        sum(count(*)) over (partition by run, class)::bigint as positives,
        any_value(last_rank) as last_rank,
        first_rank - 1 - (called - here) as others_above,
        any_value(last_rank) - called as others_called,
    from _ranked
    where is_positive
    group by run, class, first_rank
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
        sum(here * called / last_rank) / nullif(any_value(positives), 0) as precision,
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
    _logit_low(_areas.roc_auc, _areas.area_error, level) as roc_auc_low,
    1 - _logit_low(1 - _areas.roc_auc, _areas.area_error, level) as roc_auc_high,
    _logit_low(_areas.average_precision, _areas.precision_error, level) as average_precision_low,
    1 - _logit_low(1 - _areas.average_precision, _areas.precision_error, level) as average_precision_high,
    _sizes.run,
from _sizes
left join _areas
    on _sizes.run = _areas.run
    and _sizes.class = _areas.class
order by _sizes.run, _sizes.class;
