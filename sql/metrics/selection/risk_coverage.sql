-- Risk-coverage curve: the error rate of the images that are at least as confident.
-- Grain: one row per run and threshold, highest first.
-- Parameters: rel (or a list), max_points := 100 (about as many thresholds, evenly spread in coverage; 0 = all)
-- Edges: NULL label, pred or confidence and NaN are left out; equal confidences are one step.
-- Source: El-Yaniv & Wiener (2010), J. Mach. Learn. Res. 11:1605-1641.
create or replace macro risk_coverage(rel, max_points := 100) as table
with _all as (
    select
        run,
        count(*) as total,
    from query(_rel(rel))
    where label is not null
        and pred is not null
        and not isnan(confidence::double)
    group by run
),

_parts as (
    select
        steps.run,
        steps.threshold,
        steps.kept,
        steps.wrong,
        _all.total,
        case when max_points = 0 then steps.kept else steps.kept * max_points // nullif(_all.total, 0) end as part,
    from _coverage_steps(rel) as steps
    inner join _all on steps.run = _all.run
    where steps.threshold is not null
),

-- Keep the first threshold of each of max_points parts.
_firsts as (
    select
        run,
        max(threshold)::double as threshold,
        min(kept) as kept,
        min(wrong) as wrong,
        any_value(total) as total,
    from _parts
    where part > 0
    group by run, part
)

select
    kept / nullif(total, 0) as coverage,
    wrong / nullif(kept, 0) as risk,
    threshold,
    kept,
    run,
from _firsts
order by run, kept;
