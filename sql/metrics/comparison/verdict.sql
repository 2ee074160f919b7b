-- One sentence: is a run better than its baseline on the same images, by how much, and what the data still allow.
-- Grain: one row.
-- Parameters: rel, baseline (names, which the sentence shows), level := 0.95, groups := null (as mcnemar)
-- Edges: established: exact McNemar p <= 1 - level, interval without 0; needed_n: images for diff (80 %), else NULL.
-- Source: _verdict_of
create or replace macro verdict(rel, baseline, level := 0.95, groups := null) as table
with _cells as materialized ( -- noqa: ST03
    from _pair_cells(rel, baseline, groups := groups)
)

select
    sentence,
    n,
    diff,
    ci_low,
    ci_high,
    p_exact,
    established,
    balanced_diff,
    balanced_low,
    balanced_high,
    needed_n,
from _verdict_of('_cells', rel, baseline, level);
