-- Is the second run better than the first on the same images: McNemar's tests and an interval of the difference.
-- Grain: one row.
-- Parameters: rel_a, rel_b, level := 0.95
-- Edges: images of both, as in paired; diff is accuracy b - a; no image on which they differ gives every p = 1.
-- Source: McNemar (1947), Psychometrika 12:153-157 (chi2 with correction); Agresti & Min (2005), Stat. Med. 24:729-740.
create or replace macro mcnemar(rel_a, rel_b, level := 0.95) as table
with _counts as (
    select
        count(*) as n,
        count(*) filter (where ok_a and ok_b) as both_right,
        count(*) filter (where ok_a and not ok_b) as a_only,
        count(*) filter (where ok_b and not ok_a) as b_only,
        count(*) filter (where not ok_a and not ok_b) as both_wrong,
    from paired(rel_a, rel_b)
),

_tests as (
    select
        *,
        sign_test(a_only, b_only) as p_exact,
    from _counts
)

select
    n,
    both_right,
    a_only,
    b_only,
    both_wrong,
    (both_right + a_only) / nullif(n, 0) as accuracy_a,
    (both_right + b_only) / nullif(n, 0) as accuracy_b,
    (b_only - a_only) / nullif(n, 0) as diff,
    paired_low(a_only, b_only, n, level) as ci_low,
    paired_high(a_only, b_only, n, level) as ci_high,
    p_exact,
    case
        when a_only = b_only then 1e0
        else p_exact - exp(binom_logpmf(least(a_only, b_only), a_only + b_only, 0.5e0))
    end as p_mid,
    coalesce(chi2_sf_1df((abs(a_only - b_only) - 1) ** 2 / nullif(a_only + b_only, 0)), 1) as p_chi2,
from _tests;
