-- Tests of slices against the rest, corrected for their number.
-- Grain: one row per slice of at least min_n images, worst lower bound first.
-- Parameters: rel (a relation of feature, value, n, errors; rows of one slice are added up), min_n
-- Edges: a slice of everything, or all or none wrong: no test (NULL), and not counted in the correction.
-- Source: the pooled two-sample test of proportions
create or replace macro slice_tests(rel, min_n) as table
with _counts as (
    select
        feature,
        value,
        sum(n)::bigint as n,
        sum(errors)::bigint as errors,
        sum(sum(n)) over (partition by feature)::bigint as all_n,
        sum(sum(errors)) over (partition by feature)::bigint as all_errors,
    from query_table(rel)
    group by feature, value
),

_tests as ( -- noqa: ST03
    select
        feature,
        value,
        n,
        errors,
        all_errors / nullif(all_n, 0) as base_rate,
        two_proportion_z(errors, n, all_errors - errors, all_n - n) as z,
        2 * norm_sf(abs(z)) as p_value,
        1 as weight,
    from _counts
    where n >= min_n
)

from slice_figures('_tests');
