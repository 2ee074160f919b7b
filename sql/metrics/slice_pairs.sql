-- Where the model is worse in combinations: error rates of every pair of values of two of the given columns.
-- Grain: one row per pair of columns and values of at least min_n images, worst lower bound first.
-- Parameters: rel, cols (names of columns: ['camera', 'split', 'daylight']), min_n := 20
-- Edges: as slices; feature and value join both by ' × ', NULL written as NULL; one column gives no rows.
-- Source: pooled z; Holm (1979), Scand. J. Stat. 6:65-70; Benjamini & Hochberg (1995), J. R. Stat. Soc. B 57:289-300.
create or replace macro slice_pairs(rel, cols, min_n := 20) as table
with _cells as materialized (
    select
        columns(lambda _c: list_contains(cols, _c)),
        count(*) as _n,
        count(*) filter (where pred <> label) as _errors,
    from query_table(rel)
    where label is not null
        and pred is not null
    group by all
),

_texts as materialized (
    select
        row_number() over () as _cell,
        _n,
        _errors,
        columns(lambda _c: list_contains(cols, _c))::varchar,
    from _cells
),

_long as materialized (
    from _texts
    unpivot include nulls (value for feature in (columns(* exclude (_cell, _n, _errors))))
),

_pairs as (
    select
        _first.feature || ' × ' || _second.feature as feature,
        coalesce(_first.value, 'NULL') || ' × ' || coalesce(_second.value, 'NULL') as value,
        _first._n,
        _first._errors,
    from _long as _first
    inner join _long as _second
        on _first._cell = _second._cell
        and list_position(cols, _first.feature) < list_position(cols, _second.feature)
),

_counts as ( -- noqa: ST03
    select
        feature,
        value,
        sum(_n)::bigint as n,
        sum(_errors)::bigint as errors,
        sum(sum(_n)) over (partition by feature)::bigint as all_n,
        sum(sum(_errors)) over (partition by feature)::bigint as all_errors,
    from _pairs
    group by feature, value
)

from slice_tests('_counts', min_n);
