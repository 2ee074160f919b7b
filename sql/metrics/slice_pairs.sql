-- Where the model is worse in combinations: error rates of every pair of values of two of the given columns.
-- Grain: one row per pair of columns and values of at least min_n images, worst lower bound first.
-- Parameters: rel, cols (names of columns: ['camera', 'split', 'daylight']), min_n := 20
-- Edges: as slices; feature and value join both by ' × ', NULL written as NULL; one column gives no rows.
-- Source: pooled z; Holm (1979), Scand. J. Stat. 6:65-70; Benjamini & Hochberg (1995), J. R. Stat. Soc. B 57:289-300.
create or replace macro slice_pairs(rel, cols, min_n := 20) as table
with _cells as materialized (
    from slice_cells(rel, cols)
),

_pairs as ( -- noqa: ST03
    select
        _first.feature || ' × ' || _second.feature as feature,
        coalesce(_first.value, 'NULL') || ' × ' || coalesce(_second.value, 'NULL') as value,
        _first.n,
        _first.errors,
    from _cells as _first
    inner join _cells as _second
        on _first.cell = _second.cell
        and _first.place < _second.place
)

from slice_tests('_pairs', min_n);
