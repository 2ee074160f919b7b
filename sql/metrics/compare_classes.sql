-- Where the second run is better or worse than the first: recall of every class, its difference tested and corrected.
-- Grain: one row per class with images, the surest changes first.
-- Parameters: rel_a (baseline), rel_b, level := 0.95
-- Edges: images of both, as in paired; diff is b - a; intervals are of one class, p_holm and p_bh correct for all.
-- Source: exact McNemar test per class; Holm (1979), Scand. J. Stat. 6:65-70; Benjamini & Hochberg (1995).
create or replace macro compare_classes(rel_a, rel_b, level := 0.95) as table
with _classes as (
    select
        label as class,
        count(*) as n,
        count(*) filter (where ok_a) as right_a,
        count(*) filter (where ok_b) as right_b,
        count(*) filter (where ok_a and not ok_b) as a_only,
        count(*) filter (where ok_b and not ok_a) as b_only,
    from paired(rel_a, rel_b)
    group by label
),

_tests as (
    select
        *,
        sign_test(a_only, b_only) as p_value,
    from _classes
),

_ranked as (
    select
        *,
        row_number() over (order by p_value, class) as place,
        count(*) over () as tests,
    from _tests
)

select
    class,
    n,
    right_a / nullif(n, 0) as recall_a,
    right_b / nullif(n, 0) as recall_b,
    (b_only - a_only) / nullif(n, 0) as diff,
    paired_low(a_only, b_only, n, level) as ci_low,
    paired_high(a_only, b_only, n, level) as ci_high,
    a_only,
    b_only,
    p_value,
    least(1e0, max(p_value * (tests - place + 1)) over (order by place rows unbounded preceding)) as p_holm,
    least(1e0, min(p_value * tests / place) over (order by place desc rows unbounded preceding)) as p_bh,
from _ranked
order by place;
