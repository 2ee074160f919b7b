-- The error rate of the most confident images, at about 100 shares of them.
-- Grain: one row per threshold of confidence, highest first.
-- Parameters: run
-- Edges: equal confidences are one step.
-- Source: macro risk_coverage
select
    coverage,
    risk,
    threshold,
    kept,
from risk_coverage({{ literal(run) }}, points := 100);
