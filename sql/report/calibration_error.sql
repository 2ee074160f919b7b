-- Calibration error of a run in 15 bins of equal width.
-- Grain: one row.
-- Parameters: run
-- Edges: NaN when a confidence is NaN; NULL without labelled images that have a confidence.
-- Source: macro calibration
select
    n,
    ece,
    mce,
    mean_gap,
from calibration({{ literal(run) }});
