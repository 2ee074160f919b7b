-- Is the second run better on the same images, tested so that one may look after each block and stop.
-- Grain: one row.
-- Parameters: rel_a, rel_b (images in random order), level := 0.95
-- Edges: pairs as in paired; share_b is b's part of the images that one of both has right; none such: NULL and p 1.
-- Source: Robbins (1970), Ann. Math. Stat. 41:1397-1409: mixture of sign tests, Ville's inequality
create or replace macro mcnemar_anytime(rel_a, rel_b, level := 0.95) as table
with _counts as (
    select
        count(*) as n,
        count(*) filter (where ok_a and not ok_b) as a_only,
        count(*) filter (where ok_b and not ok_a) as b_only,
        a_only + b_only as differing,
    from paired(rel_a, rel_b)
)

select
    n,
    a_only,
    b_only,
    (b_only - a_only) / nullif(n, 0) as diff,
    b_only / nullif(differing, 0) as share_b,
    anytime_low(b_only, differing, level) as share_low,
    anytime_high(b_only, differing, level) as share_high,
    least(1, exp(lgamma(differing + 2) - lgamma(a_only + 1) - lgamma(b_only + 1) - differing * ln(2))) as p_value,
from _counts;
