-- Accuracy with its percentile bootstrap interval, in closed form: what infinitely many resamples would give.
-- Grain: one row.
-- Parameters: rel, level := 0.95
-- Edges: NULL label or pred is left out; pred -1 is wrong; all right or all wrong gives an interval of width 0.
-- Source: resampled successes are binomial; Efron & Tibshirani (1993), An Introduction to the Bootstrap, ch. 13.
create or replace macro accuracy_bootstrap(rel, level := 0.95) as table
with _answers as (
    select
        count(*) as n,
        count(*) filter (where pred = label) as correct,
    from query_table(rel)
    where label is not null
        and pred is not null
),

_counts as (
    select
        n,
        correct,
        correct / nullif(n, 0) as accuracy,
        sqrt(correct * (1 - correct / nullif(n, 0))) as sd,
    from _answers
),

-- Beyond ten standard deviations there is less than 1e-22.
_support as (
    select
        n,
        accuracy,
        unnest(range(
            greatest(0, floor(correct - 10 * sd) - 10)::bigint,
            least(n, ceil(correct + 10 * sd) + 10)::bigint + 1
        )) as k,
    from _counts
    where n > 0
),

_cumulative as (
    select
        k,
        sum(exp(binom_logpmf(k, n, accuracy))) over (order by k) as share,
    from _support
),

_ends as (
    select
        coalesce(min(k) filter (where share >= (1 - level) / 2), max(k)) as k_low,
        coalesce(min(k) filter (where share >= (1 + level) / 2), max(k)) as k_high,
    from _cumulative
)

select
    _counts.n,
    _counts.accuracy,
    _ends.k_low / nullif(_counts.n, 0) as ci_low,
    _ends.k_high / nullif(_counts.n, 0) as ci_high,
from _counts
cross join _ends;
