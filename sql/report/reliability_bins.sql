-- Accuracy against confidence, in 15 bins of equal width.
-- Grain: one row per bin that holds images.
-- Parameters: run
-- Edges: images whose confidence is NaN stand in a row whose bin is NULL.
-- Source: macro reliability
select
    bin,
    n,
    conf_min,
    conf_max,
    confidence,
    accuracy,
    gap,
    ci_low,
    ci_high,
from reliability({{ literal(run) }});
