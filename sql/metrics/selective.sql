-- Selective prediction: the error rate when only the most confident images are answered.
-- Grain: one row.
-- Parameters: rel, target_accuracy := 0.99
-- Edges: NULL label, pred or confidence is left out; equal confidences are one step; NaN gives NaN; never: 0 and NULL.
-- Source: Geifman et al. (2019), Bias-Reduced Uncertainty Estimation, ICLR; eaurc is aurc less that of a perfect order
create or replace macro selective(rel, target_accuracy := 0.99) as table
with _found as (
    select
        count(*) as n,
        coalesce(max(wrong), 0)::bigint as errors,
        count(threshold) < count(*) as has_nan,
        avg(wrong / nullif(kept, 0)) as aurc,
        max(kept) filter (where (kept - wrong) / nullif(kept, 0) >= target_accuracy) as kept_at_target,
        min(threshold) filter (where (kept - wrong) / nullif(kept, 0) >= target_accuracy) as threshold_at_target,
    from coverage_steps(rel)
),

_errors as (
    select
        n - errors as right_n,
        unnest(range(1, errors + 1)) as rank_wrong,
    from _found
),

-- All errors last: the k-th answer is the first wrong one after n - errors right ones.
_perfect as (
    select sum(rank_wrong / (right_n + rank_wrong)) as area
    from _errors
)

select
    _found.n,
    case when _found.has_nan then 'nan'::double else _found.aurc end as aurc,
    case
        when _found.has_nan then 'nan'::double
        else _found.aurc - coalesce(_perfect.area, 0) / nullif(_found.n, 0)
    end as eaurc,
    case
        when _found.has_nan then 'nan'::double
        else coalesce(_found.kept_at_target, 0) / nullif(_found.n, 0)
    end as coverage_at_target,
    case when _found.has_nan then 'nan'::double else _found.threshold_at_target::double end as threshold_at_target,
from _found
cross join _perfect;
