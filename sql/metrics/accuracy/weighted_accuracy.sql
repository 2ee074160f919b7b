-- Share of right answers by weight, with its Wilson interval at the effective number of images.
-- Grain: one row per run.
-- Parameters: rel (or a list), weight (any SQL over its columns: 1 / count(*) over (partition by label)), level := 0.95
-- Edges: NULL label, pred or weight is left out; negative is an error; all 0: NULL; NaN or infinite gives NaN.
-- Source: Kish (1965), Survey Sampling; effective_n is the lesser of his and accuracy * (1 - accuracy) / its variance
create or replace macro weighted_accuracy(rel, weight, level := 0.95) as table
with _runs as (
    select distinct run
    from query(_rel(rel))
),

-- One run after the other, so that a window in weight sees the rows of one run only.
_weights as (
    select
        _runs.run,
        _rows.image_id,
        _rows.is_right,
        _rows.share,
    from _runs
    left join lateral (
        select
            image_id,
            _correct(label, pred)::integer as is_right,
            (weight)::double as share,
        from query(_rel(rel)) as _given
        where _given.run = _runs.run
            and label is not null
            and pred is not null
    ) as _rows on _rows.share is not null
),

_sums as (
    select
        run,
        count(share) as n,
        count(image_id) as n_ids,
        count(distinct image_id) as n_images,
        case when min(share) < 0 then error('weights must not be negative') else sum(share) end as total,
        sum(share * is_right) as right_total,
        sum(share * share) as squares,
        sum(share * share * is_right) as right_squares,
    from _weights
    group by run
),

_shares as (
    select
        run,
        n,
        total,
        right_total / nullif(greatest(total, right_total), 0) as accuracy,
        total * total / nullif(squares, 0) as kish,
        -- Variance of a ratio, linearized: sum of squared weighted residuals over the squared sum of weights.
        accuracy * (1 - accuracy) * total * total
        / nullif(right_squares * (1 - 2 * accuracy) + squares * accuracy * accuracy, 0) as own,
    from _sums
    where _once(run, n_ids, n_images)
),

_effective as (
    select
        run,
        n,
        total,
        accuracy,
        case when own > 0 then least(kish, own) else kish end as effective_n,
    from _shares
)

select
    n,
    coalesce(total, 0) as sum_weights,
    effective_n,
    accuracy,
    case when isnan(accuracy) then accuracy else wilson_low(accuracy * effective_n, effective_n, level) end as ci_low,
    case when isnan(accuracy) then accuracy else wilson_high(accuracy * effective_n, effective_n, level) end as ci_high,
    run,
from _effective
order by run;
