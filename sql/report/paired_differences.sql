-- Accuracy, balanced accuracy and macro F1 of the run less those of the baseline, with bootstrap intervals.
-- Grain: one row per metric.
-- Parameters: run, baseline; $replicates resamples
-- Edges: images that both answered; a is the baseline, b the run.
-- Source: macro paired_bootstrap
select
    metric,
    a,
    b,
    diff,
    ci_low,
    ci_high,
    p_two_sided,
from paired_bootstrap({{ literal(baseline) }}, {{ literal(run) }}, replicates := $replicates);
