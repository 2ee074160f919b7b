-- The headline numbers of a run.
-- Grain: one row.
-- Parameters: run
-- Edges: images without a label or a prediction are left out; every figure is NULL when none is left.
-- Source: macros accuracy and scores
select
    accuracy.n,
    accuracy.correct,
    accuracy.n - accuracy.correct as mistakes,
    accuracy.accuracy,
    accuracy.ci_low,
    accuracy.ci_high,
    scores.balanced_accuracy,
    scores.precision_macro,
    scores.recall_macro,
    scores.f1_macro,
    scores.f1_weighted,
    scores.cohen_kappa,
    scores.mcc,
from accuracy({{ literal(run) }}) as accuracy
cross join scores({{ literal(run) }}) as scores;
