-- Intervals of the means that auc gives: area under the ROC curve and average precision, macro and weighted by label.
-- Grain: one row per run and mean, in the order of auc.
-- Parameters: rel (or a list), level := 0.95
-- Edges: as auc; NaN gives NaN; 0 and 1: no interval; map: around the mean without its bias, and holds the estimate.
-- Source: DeLong et al. (1988), Biometrics 44:837, over all classes: what each image adds, squared; on the logit
create or replace macro auc_ci(rel, level := 0.95) as table
with _all as materialized (
    from _class_sizes(rel)
),

_scored as materialized (
    from _called_scores(rel, '_all')
),

-- What is equally probable in a class is called together.
_ties as (
    select
        run,
        class,
        p,
        count(*) as tied,
        count(*) filter (where label = class) as tied_hits,
    from _scored
    group by run, class, p
),

_called as (
    select
        *,
        sum(tied) over _above as called,
        sum(tied_hits) over _above as hits,
        hits / called as precision,
    from _ties
    window _above as (partition by run, class order by p desc rows unbounded preceding)
),

_sizes as (
    select
        _called.run,
        _called.class,
        sum(tied_hits)::bigint as positives,
        any_value(_all.n) - positives as others,
        sum(tied_hits / called) as gain,
        sum(tied_hits * precision / called) as loss,
        isnan(max(p)) as has_nan,
        any_value(_all.n) as n,
        sum(tied_hits * (called - hits - (tied - tied_hits) / 2)) / nullif(positives * others, 0) as missed,
        sum(tied_hits * precision) / positives as precision,
        -- Of how few images a precision is the share; half an image less, so that a precision of 1 is not certain.
        sum(tied_hits * (hits - 0.5) * (called - hits + 0.5) / called ** 3) / positives ** 2 as noise,
    from _called
    inner join _all
        on _called.run = _all.run
        and _called.class = _all.class
    group by _called.run, _called.class
),

_classes as (
    select
        run,
        class,
        positives,
        others,
        gain,
        loss,
        case when has_nan then 'nan'::double else 1 - missed end as area,
        case when has_nan then 'nan'::double else precision end as precision,
        -- What an image adds that is below all of the class; their ranks are not looked at one by one.
        (1 - area) / nullif(others, 0) as area_below,
        n,
        noise,
    from _sizes
),

-- The slope of both figures of a class along the weight of an image, one of the class and one of the others.
_slopes as (
    select
        _called.run,
        _called.class,
        _called.p,
        _classes.positives,
        _classes.area,
        _classes.precision,
        -- As in a sample variance one image of the class less is counted; the others are many.
        sqrt(positives / nullif(positives - 1, 0)) as correction,
        (1 - (called - hits - (tied - tied_hits) / 2) / nullif(others, 0) - area)
        / positives * correction as area_of_class,
        ((hits - tied_hits / 2) / positives - 1) / nullif(others, 0) + area_below as area_of_others,
        area_below,
        (
            _classes.loss - sum(tied_hits * _called.precision / called) over _above
            + tied_hits * _called.precision / called
        ) / positives as lost,
        (
            _classes.gain - sum(tied_hits / called) over _above + tied_hits / called
            + _called.precision - _classes.precision
        ) / positives * correction - lost * correction as precision_of_class,
        -lost as precision_of_others,
    from _called
    inner join _classes
        on _called.run = _classes.run
        and _called.class = _classes.class
    window _above as (partition by _called.run, _called.class order by _called.p desc rows unbounded preceding)
),

-- An image is called at its own probability, which makes precision too high: on average of many small classes by more
-- than the standard error. What is called beside it has no such bias; the first of all, beside which there is nothing,
-- is as precise as the best.
_beside as (
    select
        _called.run,
        _called.class,
        tied_hits,
        positives,
        (hits - 1) * positives
        / nullif((hits - 1) * positives + (called - hits) * (positives - 1), 0) as precision,
        _classes.precision as plain,
    from _called
    inner join _classes
        on _called.run = _classes.run
        and _called.class = _classes.class
    where tied_hits > 0
),

_centers as (
    select
        run,
        class,
        case
            when any_value(positives) = 1 then any_value(plain)
            else (
                coalesce(sum(tied_hits * precision), 0)
                + coalesce(sum(tied_hits) filter (where precision is null), 0) * coalesce(max(precision), 1)
            ) / any_value(positives)
        end as center,
    from _beside
    group by run, class
),

_means as (
    select
        _classes.run,
        count(area) as n_areas,
        count(*) as n_classes,
        sum(positives) filter (where area is not null)::double as n_area_images,
        sum(positives)::double as n_images,
        max(n) as n_answers,
        sum(area_below) / n_areas as below_macro,
        sum(positives * area_below) / nullif(n_area_images, 0) as below_weighted,
        sum(noise) / n_classes ** 2 as noise_macro,
        sum(positives ** 2 * noise) / n_images ** 2 as noise_weighted,
        [
            avg(area),
            sum(positives * area) / nullif(n_area_images, 0),
            avg(precision),
            sum(positives * precision) / n_images
        ] as estimates,
        [estimates[1], estimates[2], avg(center), sum(positives * center) / n_images] as centers,
    from _classes
    inner join _centers
        on _classes.run = _centers.run
        and _classes.class = _centers.class
    group by _classes.run
),

-- The weight of a class in a weighted mean varies too.
_added as (
    select
        _scored.run,
        _scored.image,
        case
            when label = _scored.class then struct_pack(area := area_of_class, precision := precision_of_class)
            else struct_pack(area := area_of_others, precision := precision_of_others)
        end as slope,
        _slopes.positives,
        _slopes.area_below,
        case when label = _scored.class then _slopes.area end as own_area,
        case when label = _scored.class then _slopes.precision end as own_precision,
    from _scored
    inner join _slopes
        on _scored.run = _slopes.run
        and _scored.class = _slopes.class
        and _scored.p = _slopes.p
),

_images_added as (
    select
        _added.run,
        _added.image,
        [
            sum(slope.area - area_below) / any_value(n_areas) + any_value(below_macro),
            (sum(positives * (slope.area - area_below)) + coalesce(max(own_area) - any_value(estimates[2]), 0))
            / any_value(n_area_images) + any_value(below_weighted),
            sum(slope.precision) / any_value(n_classes),
            (sum(positives * slope.precision) + coalesce(max(own_precision) - any_value(estimates[4]), 0))
            / any_value(n_images)
        ] as added,
    from _added
    inner join _means on _added.run = _means.run
    group by _added.run, _added.image
),

_errors as (
    select
        _means.run,
        _means.n_answers - count(*) as n_below,
        [
            sqrt(sum(added[1] ** 2) + n_below * any_value(below_macro) ** 2),
            sqrt(sum(added[2] ** 2) + n_below * any_value(below_weighted) ** 2),
            sqrt(sum(added[3] ** 2) + any_value(noise_macro)),
            sqrt(sum(added[4] ** 2) + any_value(noise_weighted))
        ] as std_errors,
    from _images_added
    inner join _means on _images_added.run = _means.run
    group by _means.run, _means.n_answers
),

_rows as (
    select
        _runs.run,
        unnest(range(4)) as position,
        unnest(['roc_auc_macro', 'roc_auc_weighted', 'map_macro', 'map_weighted']) as metric,
        unnest(coalesce(_means.estimates, [null, null, null, null])) as estimate,
        unnest(coalesce(_means.centers, [null, null, null, null])) as center,
        unnest(coalesce(_errors.std_errors, [null, null, null, null])) as std_error,
    from (select distinct run from query(_rel(rel))) as _runs
    left join _means on _runs.run = _means.run
    left join _errors on _runs.run = _errors.run
),

_ends as (
    select
        *,
        _logit_low(center, std_error, level) as low,
        1 - _logit_low(1 - center, std_error, level) as high,
    from _rows
)

select
    metric,
    estimate,
    std_error,
    case when low is not null then least(low, estimate) end as ci_low,
    case when high is not null then greatest(high, estimate) end as ci_high,
    run,
from _ends
order by run, position;
