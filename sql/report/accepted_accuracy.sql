-- Share of answers that are among the accepted classes of their image.
-- Grain: one row.
-- Parameters: run
-- Edges: images whose list of accepted classes is empty are left out.
-- Source: macro accuracy_accepted
select
    n,
    correct,
    accuracy,
    ci_low,
    ci_high,
from accuracy_accepted({{ literal(run) }});
