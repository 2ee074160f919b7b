-- How often the run and the baseline say the same, and which way the others flipped.
-- Grain: one row.
-- Parameters: run, baseline
-- Edges: images that both answered; shares of n.
-- Source: macro agreement
select
    n,
    agreement,
    churn,
    negative_flips,
    positive_flips,
    wrong_differently,
from agreement({{ literal(baseline) }}, {{ literal(run) }});
