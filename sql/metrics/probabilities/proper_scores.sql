-- Log loss and Brier score of the stored probabilities, with the intervals of the means.
-- Grain: one row per run.
-- Parameters: rel (or a list), eps := 1.1920929e-07 (float32's: p within eps and 1 - eps for ln), level := 0.95
-- Edges: NULL label, pred or probs is left out; NaN makes its scores NaN; a label outside probs has probability 0.
-- Source: Brier (1950), Monthly Weather Review 78:1-3, summed over classes; scikit-learn's log_loss
create or replace macro proper_scores(rel, eps := 1.1920929e-07, level := 0.95) as table
with _answers as (
    select
        run,
        label,
        pred,
        confidence::double as confidence,
        case when isnan(list_max(probs)::double) then 'nan'::double else coalesce(_p_of(probs, label), 0)::double end
            as p_label,
        list_sum(list_transform(probs, lambda _p: _p::double * _p::double)) as p_squared,
    from _images(rel)
    where label is not null
        and pred is not null
        and probs is not null
),

_losses as (
    select
        run,
        label,
        pred,
        confidence,
        p_label,
        case when isnan(p_label) then p_label else -ln(least(greatest(p_label, eps), 1 - eps)) end as loss,
        p_squared - 2 * p_label + 1 as brier,
    from _answers
),

_means as (
    select
        _runs.run,
        count(_losses.run) as n,
        avg(loss) as log_loss,
        avg(brier) as brier,
        avg(p_label) as mean_p_label,
        avg(confidence) as mean_confidence,
        count(*) filter (where _correct(label, pred)) / nullif(count(_losses.run), 0) as accuracy,
        case
            when not isnan(sum(loss))
                then _norm_ppf((1 + _level(level)) / 2) * stddev_samp(loss) / sqrt(count(_losses.run))
        end as loss_margin,
        case
            when not isnan(sum(brier))
                then _norm_ppf((1 + _level(level)) / 2) * stddev_samp(brier) / sqrt(count(_losses.run))
        end as brier_margin,
    from (select distinct run from query(_rel(rel))) as _runs
    left join _losses on _runs.run = _losses.run
    group by _runs.run
)

select
    n,
    log_loss,
    brier,
    mean_p_label,
    mean_confidence,
    accuracy,
    case when loss_margin is not null then greatest(0, log_loss - loss_margin) end as log_loss_low,
    log_loss + loss_margin as log_loss_high,
    case when brier_margin is not null then greatest(0, brier - brier_margin) end as brier_low,
    brier + brier_margin as brier_high,
    run,
from _means
order by run;
