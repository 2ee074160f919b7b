-- Number of images that are at least as confident as this one, and how many of them are wrong.
-- Grain: one row per image with label, pred and confidence.
-- Parameters: rel
-- Edges: NULL label, pred or confidence is left out; equal confidences are one step; NaN is a NULL threshold, last.
-- Source: El-Yaniv & Wiener (2010), J. Mach. Learn. Res. 11:1605-1641.
create or replace macro _coverage_steps(rel) as table
with _answers as (
    select
        run,
        case when not isnan(confidence::double) then confidence end as threshold,
        (not _correct(label, pred))::integer as is_wrong,
    from query(_rel(rel))
    where label is not null
        and pred is not null
        and confidence is not null
)

select
    threshold,
    count(*) over _falling as kept,
    (sum(is_wrong) over _falling)::bigint as wrong,
    run,
from _answers
window _falling as (partition by run order by threshold desc nulls last);
