-- All headline numbers of a relation.
-- Grain: one row per run and number.
-- Parameters: rel (or a list)
-- Edges: a number that is undefined, or needs confidence or probs where they are missing, is NULL.
-- Source: accuracy, scores, topk_accuracy, calibration_error, proper_scores
create or replace macro summary(rel) as table
with _given as (
    -- A relation may lack these columns.
    select
        null::float as confidence,
        null::float[] as probs,
    where false
    union all by name
    from query(_rel(rel))
),

_confidence as (
    select
        run,
        avg(confidence) filter (where label is not null and pred is not null) as mean_confidence,
        max(len(probs)) as classes,
    from _given
    group by run
)

select
    unnest([
        'n', 'correct', 'n_wrong', 'accuracy', 'ci_low', 'ci_high', 'mean_confidence',
        'balanced_accuracy', 'precision_macro', 'recall_macro', 'f1_macro', 'jaccard_macro',
        'precision_weighted', 'recall_weighted', 'f1_weighted', 'f1_micro', 'cohen_kappa', 'mcc',
        'top5_accuracy', 'ece', 'log_loss', 'brier'
    ]) as metric,
    unnest([
        answers.n::double, answers.correct, answers.n - answers.correct, answers.accuracy,
        answers.ci_low, answers.ci_high, _confidence.mean_confidence,
        averages.balanced_accuracy, averages.precision_macro, averages.recall_macro, averages.f1_macro,
        averages.jaccard_macro, averages.precision_weighted, averages.recall_weighted, averages.f1_weighted,
        averages.f1_micro, averages.cohen_kappa, averages.mcc,
        -- Of five classes or fewer the label is always one.
        case when _confidence.classes > 5 then best_five.accuracy end, errors.ece, losses.log_loss, losses.brier
    ]) as value,
    answers.run,
from accuracy('_given') as answers
inner join scores('_given') as averages on answers.run = averages.run
inner join topk_accuracy('_given', ks := [5]) as best_five on answers.run = best_five.run
inner join calibration_error('_given') as errors on answers.run = errors.run
inner join proper_scores('_given') as losses on answers.run = losses.run
inner join _confidence on answers.run = _confidence.run
order by answers.run;
