-- Accuracy at each level of a tree of classes: an answer is right at a height if it meets the label there or below.
-- Grain: one row per run and height, in order of both; at height 0 it is accuracy.
-- Parameters: rel (or a list), tree (class, parent; by number, or by name where class is text), level := 0.95
-- Edges: as accuracy; label or pred below 0 is wrong at every height; a class that is not in the tree is an error.
-- Source: Bertinetto et al. (2020), Making Better Mistakes, CVPR; Wilson (1927)
create or replace macro hierarchy(rel, tree, level := 0.95) as table
with _heights as materialized (
    from _lca_heights(rel, tree)
),

_levels as (
    select unnest(range(max(height) + 1)) as height
    from _tree_paths(tree)
),

_counts as (
    select
        _runs.run,
        _levels.height,
        coalesce(sum(_heights.n), 0)::bigint as n,
        coalesce(
            sum(_heights.n) filter (where _heights.height <= _levels.height and not _heights.is_outside), 0
        )::bigint as correct,
    from (select distinct run from query(_rel(rel))) as _runs
    cross join _levels
    left join _heights on _runs.run = _heights.run
    group by _runs.run, _levels.height
)

select
    height,
    n,
    correct,
    correct / nullif(n, 0) as accuracy,
    wilson_low(correct, n, level) as ci_low,
    wilson_high(correct, n, level) as ci_high,
    run,
from _counts
order by run, height;
