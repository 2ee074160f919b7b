-- Selective prediction: the error rate when only the most confident images are answered.
-- Grain: one row.
-- Parameters: rel, target_accuracy := 0.99
-- Edges: NULL label, pred or confidence is left out; equal confidences are one step; NaN gives NaN; never: 0 and NULL.
-- Source: Geifman et al. (2019), Bias-Reduced Uncertainty Estimation, ICLR; eaurc is aurc less that of a perfect order
create or replace macro selective(rel, target_accuracy := 0.99) as table
with _steps as (
    select
        confidence::double as threshold,
        count(*) as n,
        count(*) filter (where pred <> label) as errors,
    from query_table(rel)
    where label is not null
        and pred is not null
        and confidence is not null
    group by threshold
),

_sums as (
    select
        threshold,
        n,
        errors,
        sum(n) over (order by threshold desc)::bigint as kept,
        sum(errors) over (order by threshold desc)::bigint as wrong,
    from _steps
),

_found as (
    select
        coalesce(sum(n), 0)::bigint as n,
        coalesce(sum(errors), 0)::bigint as errors,
        isnan(max(threshold)) as has_nan,
        sum(n * (wrong / nullif(kept, 0))) / nullif(sum(n), 0) as aurc,
        max(kept) filter (where (kept - wrong) / nullif(kept, 0) >= target_accuracy) as kept_at_target,
        min(threshold) filter (where (kept - wrong) / nullif(kept, 0) >= target_accuracy) as threshold_at_target,
    from _sums
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
    case when _found.has_nan then 'nan'::double else _found.threshold_at_target end as threshold_at_target,
from _found
cross join _perfect;
