-- Where the model is worse: error rates of every value of the given columns, tested against the rest.
-- Grain: one row per column and value of at least min_n images, worst lower bound first.
-- Parameters: rel, cols (names of columns: ['camera', 'split']; numbers uncut, unlike worst_slices), min_n := 20
-- Edges: NULL label or pred is left out; pred -1 is wrong; NULL is a value; lift, diff and excess against all images.
-- Source: pooled z; Holm (1979), Scand. J. Stat. 6:65-70; Benjamini & Hochberg (1995), J. R. Stat. Soc. B 57:289-300.
create or replace macro slices(rel, cols, min_n := 20) as table
with _cells as ( -- noqa: ST03
    from slice_cells(rel, cols)
)

from slice_tests('_cells', min_n);
