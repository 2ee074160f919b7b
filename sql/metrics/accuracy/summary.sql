-- All headline numbers of a relation.
-- Grain: one row per run and number.
-- Parameters: rel (or a list)
-- Edges: reads label, pred, confidence; NULL label or pred is left out; a number that is undefined is NULL.
-- Source: accuracy and scores
create or replace macro summary(rel) as table
with _confidence as (
    select
        run,
        avg(confidence) filter (where label is not null and pred is not null) as mean_confidence,
    from query(_rel(rel))
    group by run
)

select
    unnest([
        'n', 'correct', 'n_wrong', 'accuracy', 'ci_low', 'ci_high', 'mean_confidence',
        'balanced_accuracy', 'precision_macro', 'recall_macro', 'f1_macro', 'jaccard_macro',
        'precision_weighted', 'recall_weighted', 'f1_weighted', 'f1_micro', 'cohen_kappa', 'mcc'
    ]) as metric,
    unnest([
        answers.n::double, answers.correct, answers.n - answers.correct, answers.accuracy,
        answers.ci_low, answers.ci_high, _confidence.mean_confidence,
        averages.balanced_accuracy, averages.precision_macro, averages.recall_macro, averages.f1_macro,
        averages.jaccard_macro, averages.precision_weighted, averages.recall_weighted, averages.f1_weighted,
        averages.f1_micro, averages.cohen_kappa, averages.mcc
    ]) as value,
    answers.run,
from accuracy(rel) as answers
inner join scores(rel) as averages on answers.run = averages.run
inner join _confidence on answers.run = _confidence.run
order by answers.run;
