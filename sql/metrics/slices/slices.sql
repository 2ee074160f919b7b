-- Where the model is worse: error rates of every value of the given columns, tested against the rest.
-- Grain: one row per run, column and value of at least min_n images, worst lower bound first.
-- Parameters: rel (or a list), cols (names of columns: ['camera', 'split']; numbers uncut), min_n := 20
-- Edges: NULL label or pred is left out; below 0 is wrong; NULL is a value; lift, diff and excess against all images.
-- Source: Fisher's exact test, one-sided; Holm (1979), Scand. J. Stat. 6:65-70; Benjamini & Hochberg (1995), JRSS B.
create or replace macro slices(rel, cols, min_n := 20) as table
with _counts as (
    select
        run,
        feature,
        value,
        sum(n)::bigint as n,
        sum(n_wrong)::bigint as n_wrong,
        sum(sum(n)) over (partition by run, feature)::bigint as all_n,
        sum(sum(n_wrong)) over (partition by run, feature)::bigint as all_n_wrong,
    from _slice_cells(rel, cols)
    group by run, feature, value
),

_slices as ( -- noqa: ST03
    select
        run,
        feature,
        value,
        n,
        n_wrong,
        [struct_pack(n := all_n, n_wrong := all_n_wrong)] as wholes,
    from _counts
)

from _slice_tests('_slices', min_n);
