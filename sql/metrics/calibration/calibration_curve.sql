-- Reliability curve: accuracy against confidence, in bins of confidence.
-- Grain: one row per run and bin that holds images, in order of both.
-- Parameters: rel (or a list), n_bins := 15, strategy := 'uniform' or 'quantile' (equal counts; ties never split)
-- Edges: bins are [low, high), 1 in the last; NULL label, pred or confidence is left out; NaN: one row, bin NULL.
-- Source: Guo et al. (2017), ICML; gap = confidence - accuracy; gap_sd is its standard deviation if calibrated
create or replace macro calibration_curve(rel, n_bins := 15, strategy := 'uniform') as table
with _answers as (
    select
        run,
        _correct(label, pred) as is_right,
        confidence::double as confidence,
    from _images(rel)
    where label is not null
        and pred is not null
        and confidence is not null
),

-- Slightly below the share where the next bin begins, so that the value at that share is in the next bin.
_edges as (
    select
        run,
        quantile_cont(
            confidence,
            list_transform(range(1, greatest(n_bins, 2)), lambda _i: _i / greatest(n_bins, 2) - 1e-12)
        ) filter (where strategy = 'quantile') as edges,
    from _answers
    group by run
),

_binned as (
    select
        _answers.run,
        _answers.is_right,
        _answers.confidence,
        case
            when n_bins < 1 then error('n_bins must be at least 1')
            when isnan(confidence) then null
            when strategy = 'uniform' then greatest(0, least(n_bins - 1, floor(confidence * n_bins)))
            when strategy = 'quantile'
                then least(n_bins - 1, len(list_filter(edges, lambda _edge: _edge <= confidence)))
            else error('strategy is uniform or quantile')
        end::integer as bin,
    from _answers
    inner join _edges on _answers.run = _edges.run
),

_counts as (
    select
        run,
        bin,
        count(*) as n,
        min(confidence) as conf_min,
        max(confidence) as conf_max,
        avg(confidence) as confidence,
        count(*) filter (where is_right) as correct,
        sqrt(greatest(0, sum(confidence * (1 - confidence)))) as spread,
    from _binned
    group by run, bin
)

select
    bin,
    n,
    conf_min,
    conf_max,
    confidence,
    correct / nullif(n, 0) as accuracy,
    confidence - correct / nullif(n, 0) as gap,
    wilson_low(correct, n, 0.95) as ci_low,
    wilson_high(correct, n, 0.95) as ci_high,
    spread / nullif(n, 0) as gap_sd,
    run,
from _counts
order by run, bin;
