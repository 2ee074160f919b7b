-- What stays when only answers of at least some confidence are given: how many, and how many of them right.
-- Grain: one row per threshold.
-- Parameters: run
-- Edges: coverage is of the labelled images that have a confidence; accuracy is NULL where none stays.
-- Source: this project; interval by macros wilson_low and wilson_high
with _answers as (
    select
        correct,
        confidence::double as confidence,
    from {{ ident(run) }}
    where correct is not null
        and not isnan(confidence::double)
),

_thresholds as (
    select unnest([0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99])::double as threshold
),

_counts as (
    select
        _thresholds.threshold,
        count(*) as n,
        count(*) filter (where _answers.confidence >= _thresholds.threshold) as kept,
        count(*) filter (where _answers.confidence >= _thresholds.threshold and _answers.correct) as correct,
    from _thresholds
    cross join _answers
    group by _thresholds.threshold
)

select
    threshold,
    kept,
    kept / nullif(n, 0) as coverage,
    correct / nullif(kept, 0) as accuracy,
    wilson_low(correct, kept, 0.95) as ci_low,
    wilson_high(correct, kept, 0.95) as ci_high,
from _counts
order by threshold;
