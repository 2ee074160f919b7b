-- Where the model is worse in combinations: error rates of every pair of values of two of the given columns.
-- Grain: one row per run, pair of columns and values of at least min_n images, worst lower bound first.
-- Parameters: rel (or a list), cols (names of columns: ['camera', 'split', 'daylight']), min_n := 20
-- Edges: as slices; a pair must be worse than either part too; feature and value join both by ' × ', NULL as NULL.
-- Source: Fisher's exact test, one-sided, largest p of three; Holm (1979); Benjamini & Hochberg (1995), JRSS B.
create or replace macro slice_pairs(rel, cols, min_n := 20) as table
with _cells as materialized (
    from _slice_cells(rel, cols)
),

_singles as materialized (
    select
        run,
        position,
        value,
        any_value(feature) as feature,
        struct_pack(n := sum(n)::bigint, n_wrong := sum(n_wrong)::bigint) as part,
    from _cells
    group by run, position, value
),

_all as (
    select
        run,
        struct_pack(n := sum(n)::bigint, n_wrong := sum(n_wrong)::bigint) as whole,
    from _cells
    where position = 1
    group by run
),

_counts as (
    select
        _first.run,
        _first.position as first_position,
        _first.value as first_value,
        _second.position as second_position,
        _second.value as second_value,
        sum(_first.n)::bigint as n,
        sum(_first.n_wrong)::bigint as n_wrong,
    from _cells as _first
    inner join _cells as _second
        on _first.cell = _second.cell
        and _first.position < _second.position
    group by all
),

_pairs as ( -- noqa: ST03
    select
        _counts.run,
        _first.feature || ' × ' || _second.feature as feature,
        coalesce(_first.value, 'NULL') || ' × ' || coalesce(_second.value, 'NULL') as value,
        _counts.n,
        _counts.n_wrong,
        [_all.whole, _first.part, _second.part] as wholes,
    from _counts
    inner join _singles as _first
        on _counts.run = _first.run
        and _counts.first_position = _first.position
        and _counts.first_value is not distinct from _first.value
    inner join _singles as _second
        on _counts.run = _second.run
        and _counts.second_position = _second.position
        and _counts.second_value is not distinct from _second.value
    inner join _all on _counts.run = _all.run
)

from _slice_tests('_pairs', min_n);
