-- Where the model is worse: error rates of every value of the given columns, tested against the rest.
-- Grain: one row per column and value of at least min_n images, worst lower bound first.
-- Parameters: rel, cols (names of columns: ['camera', 'split']), min_n := 20
-- Edges: NULL label or pred is left out; pred -1 is wrong; NULL is a value; lift, diff and excess against all images.
-- Source: pooled z; Holm (1979), Scand. J. Stat. 6:65-70; Benjamini & Hochberg (1995), J. R. Stat. Soc. B 57:289-300.
create or replace macro slices(rel, cols, min_n := 20) as table
with _cells as (
    select
        columns(lambda _c: list_contains(cols, _c)),
        count(*) as _n,
        count(*) filter (where pred <> label) as _errors,
    from query_table(rel)
    where label is not null
        and pred is not null
    group by all
),

_texts as (
    select
        _n,
        _errors,
        columns(lambda _c: list_contains(cols, _c))::varchar,
    from _cells
),

_long as (
    from _texts
    unpivot include nulls (value for feature in (columns(* exclude (_n, _errors))))
),

_counts as ( -- noqa: ST03
    select
        feature,
        value,
        sum(_n)::bigint as n,
        sum(_errors)::bigint as errors,
        sum(sum(_n)) over (partition by feature)::bigint as all_n,
        sum(sum(_errors)) over (partition by feature)::bigint as all_errors,
    from _long
    group by feature, value
)

from slice_tests('_counts', min_n);
