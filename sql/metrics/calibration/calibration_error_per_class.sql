-- Calibration error of each class's probability, over all images.
-- Grain: one row per run and class of probs, in order of both.
-- Parameters: rel (or a list), n_bins := 15 (equally wide)
-- Edges: bins are [low, high), 1 in the last; NULL label, pred or probs is left out; NaN in a class gives NaN.
-- Source: Kull et al. (2019), Beyond temperature scaling, NeurIPS; base_rate is the share of the label
create or replace macro calibration_error_per_class(rel, n_bins := 15) as table
with _lists as (
    select
        run,
        label,
        -- Unnesting an array, which is what runs store, takes 40 times as long as unnesting a list.
        probs::double[] as probs,
    from query(_rel(rel))
    where label is not null
        and pred is not null
        and probs is not null
),

_scored as (
    select
        run,
        label,
        unnest(probs) as p,
        generate_subscripts(probs, 1) - 1 as class,
    from _lists
),

-- Grouped first and clamped to the range afterwards, which then touches n_bins rows and not all images.
_steps as (
    select
        run,
        class,
        floor(p * n_bins) as step,
        count(*) as n,
        sum(p) as p_sum,
        count(*) filter (where label = class) as hits,
    from _scored
    group by run, class, step
),

_binned as (
    select
        run,
        class,
        case
            when n_bins < 1 then error('n_bins must be at least 1')
            else greatest(0, least(n_bins - 1, step))
        end as bin,
        sum(n) as n,
        sum(p_sum) as p_sum,
        sum(hits) as hits,
    from _steps
    group by run, class, bin
)

select
    class,
    sum(n)::bigint as n,
    sum(abs(p_sum - hits)) / nullif(sum(n), 0) as ece,
    max(abs(p_sum - hits) / nullif(n, 0)) as mce,
    sum(hits) / nullif(sum(n), 0) as base_rate,
    run,
from _binned
group by run, class
order by run, class;
