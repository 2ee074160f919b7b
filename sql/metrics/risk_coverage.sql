-- Risk-coverage curve: the error rate of the images that are at least so confident.
-- Grain: one row per threshold, highest first.
-- Parameters: rel, points := 100 (about so many thresholds, evenly spread in coverage; 0 = all)
-- Edges: NULL label, pred or confidence and NaN are left out; equal confidences are one step.
-- Source: El-Yaniv & Wiener (2010), J. Mach. Learn. Res. 11:1605-1641.
create or replace macro risk_coverage(rel, points := 100) as table
with _steps as (
    select
        confidence::double as threshold,
        count(*) as n,
        count(*) filter (where pred <> label) as errors,
    from query_table(rel)
    where label is not null
        and pred is not null
        and not isnan(confidence::double)
    group by threshold
),

_sums as (
    select
        threshold,
        n,
        sum(n) over (order by threshold desc)::bigint as kept,
        sum(errors) over (order by threshold desc)::bigint as wrong,
        sum(n) over ()::bigint as total,
    from _steps
)

select
    kept / nullif(total, 0) as coverage,
    wrong / nullif(kept, 0) as risk,
    threshold,
    kept,
from _sums
where points = 0
    -- The steps that reach another of the parts.
    or kept * points // nullif(total, 0) > (kept - n) * points // nullif(total, 0)
order by kept;
