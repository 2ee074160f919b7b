-- Log loss and Brier score of the stored probabilities.
-- Grain: one row per run.
-- Parameters: rel (or a list), eps := 1.1920929e-07 (keeps p within eps and 1 - eps for the logarithm: float32's)
-- Edges: NULL label, pred or probs is left out; NaN makes its scores NaN; a label outside probs has probability 0.
-- Source: Brier (1950), Monthly Weather Review 78:1-3, summed over classes; scikit-learn's log_loss
create or replace macro proper_scores(rel, eps := 1.1920929e-07) as table
with _answers as (
    select
        run,
        label,
        pred,
        confidence::double as confidence,
        case when isnan(list_max(probs)::double) then 'nan'::double else coalesce(_p_of(probs, label), 0)::double end
            as p_label,
        list_sum(list_transform(probs, lambda _p: _p::double * _p::double)) as p_squared,
    from query(_rel(rel))
    where label is not null
        and pred is not null
        and probs is not null
)

select
    count(_answers.run) as n,
    avg(case when isnan(p_label) then p_label else -ln(least(greatest(p_label, eps), 1 - eps)) end)
        filter (where _answers.run is not null) as log_loss,
    avg(p_squared - 2 * p_label + 1) as brier,
    avg(p_label) as mean_p_label,
    avg(confidence) as mean_confidence,
    count(*) filter (where _correct(label, pred)) / nullif(count(_answers.run), 0) as accuracy,
    _runs.run,
from (select distinct run from query(_rel(rel))) as _runs
left join _answers on _runs.run = _answers.run
group by _runs.run
order by _runs.run;
