-- Recall of every class in the run less that in the baseline, on the images that both answered.
-- Grain: one row per class, the largest difference first.
-- Parameters: run, baseline
-- Edges: p_holm corrects the exact sign test for the number of classes.
-- Source: macro paired; interval Agresti & Min (2005), Stat. Med. 24:729-740; Holm (1979), Scand. J. Stat. 6:65-70.
with _names as (
    select
        classes.class,
        classes.name,
    from runs
    inner join datasets on runs.dataset = datasets.dataset
    inner join classes on datasets.space = classes.space
    where runs.run = {{ literal(run) }}
),

_counts as (
    select
        label as class,
        count(*) as n,
        count(*) filter (where ok_a) as right_a,
        count(*) filter (where ok_b) as right_b,
        count(*) filter (where ok_a and not ok_b) as a_only,
        count(*) filter (where ok_b and not ok_a) as b_only,
    from paired({{ literal(baseline) }}, {{ literal(run) }})
    group by label
),

_tests as (
    select
        *,
        (b_only - a_only) / (n + 2e0) as shifted,
        norm_ppf(0.975) * sqrt(a_only + b_only + 1 - (b_only - a_only) ** 2 / (n + 2e0)) / (n + 2e0) as half,
        sign_test(a_only, b_only) as p_value,
    from _counts
),

_ranked as (
    select
        *,
        row_number() over (order by p_value, class) as place,
        count(*) over () as tests,
    from _tests
)

select
    _ranked.class,
    coalesce(_names.name, _ranked.class::varchar) as name,
    _ranked.n,
    _ranked.right_a / nullif(_ranked.n, 0) as recall_a,
    _ranked.right_b / nullif(_ranked.n, 0) as recall_b,
    (_ranked.b_only - _ranked.a_only) / nullif(_ranked.n, 0) as diff,
    greatest(-1e0, _ranked.shifted - _ranked.half) as ci_low,
    least(1e0, _ranked.shifted + _ranked.half) as ci_high,
    _ranked.a_only,
    _ranked.b_only,
    _ranked.p_value,
    least(1e0, max(_ranked.p_value * (_ranked.tests - _ranked.place + 1)) over (
        order by _ranked.place rows unbounded preceding
    )) as p_holm,
from _ranked
left join _names on _ranked.class = _names.class
order by abs(_ranked.b_only - _ranked.a_only) / nullif(_ranked.n, 0) desc, _ranked.n desc, _ranked.class;
