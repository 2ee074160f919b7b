-- How many images can be answered when the answers must be right as often as $target.
-- Grain: one row.
-- Parameters: run
-- Edges: no threshold reaches the target: coverage 0, threshold NULL.
-- Source: macro selective
select
    n,
    aurc,
    coverage_at_target,
    threshold_at_target,
from selective({{ literal(run) }}, target_accuracy := $target);
