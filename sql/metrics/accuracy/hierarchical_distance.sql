-- How bad mistakes are in a tree of classes: mean height at which label and prediction meet, of all and of mistakes.
-- Grain: one row per run.
-- Parameters: rel (or a list), tree (class, parent; by number, or by name where class is text), level := 0.95
-- Edges: as hierarchy; right answers have 0; label or pred below 0 counts as the top; no mistakes: NULL.
-- Source: Bertinetto et al. (2020), Making Better Mistakes, CVPR; intervals: _mean_low
create or replace macro hierarchical_distance(rel, tree, level := 0.95) as table
with _sums as (
    select
        _runs.run,
        coalesce(sum(_heights.n), 0)::bigint as n,
        coalesce(sum(_heights.n) filter (where not _heights.is_right), 0)::bigint as n_wrong,
        sum(_heights.n * _heights.height)::double as total,
        sum(_heights.n * _heights.height ** 2)::double as squares,
        any_value(_heights.top)::double as top,
        -- A mistake is at least one step away.
        sum(_heights.n * (_heights.height - 1)) filter (where not _heights.is_right)::double as beyond,
        sum(_heights.n * (_heights.height - 1) ** 2) filter (where not _heights.is_right)::double as beyond_squares,
    from (select distinct run from query(_rel(rel))) as _runs
    left join _lca_heights(rel, tree) as _heights on _runs.run = _heights.run
    group by _runs.run
)

select
    n,
    n_wrong,
    total / nullif(n, 0) as mean_height,
    _mean_low(n, total, squares, top, level) as ci_low,
    _mean_high(n, total, squares, top, level) as ci_high,
    total / nullif(n_wrong, 0) as mean_height_wrong,
    1 + _mean_low(n_wrong, beyond, beyond_squares, top - 1, level) as wrong_low,
    1 + _mean_high(n_wrong, beyond, beyond_squares, top - 1, level) as wrong_high,
    run,
from _sums
order by run;
