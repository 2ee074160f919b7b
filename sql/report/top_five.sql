-- Share of images whose label is among the five most probable classes.
-- Grain: one row.
-- Parameters: run
-- Edges: ties go to the lower class index.
-- Source: macro topk_accuracy
select
    k,
    n,
    correct,
    accuracy,
    ci_low,
    ci_high,
from topk_accuracy({{ literal(run) }}, ks := [5]);
