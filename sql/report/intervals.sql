-- Bootstrap intervals of the scores that have no closed one.
-- Grain: one row per metric.
-- Parameters: run; $replicates resamples
-- Edges: left out of the page where the confusion matrix has too many cells to resample.
-- Source: macro bootstrap_ci
select
    metric,
    estimate,
    ci_low,
    ci_high,
from bootstrap_ci({{ literal(run) }}, replicates := $replicates);
