-- Is the run better than the baseline on the images that both answered: wins, losses, interval, McNemar's p.
-- Grain: one row.
-- Parameters: run, baseline
-- Edges: a is the baseline, b the run; diff is b - a.
-- Source: macro mcnemar
select
    n,
    both_right,
    a_only,
    b_only,
    both_wrong,
    accuracy_a,
    accuracy_b,
    diff,
    ci_low,
    ci_high,
    p_exact,
    p_mid,
from mcnemar({{ literal(baseline) }}, {{ literal(run) }});
