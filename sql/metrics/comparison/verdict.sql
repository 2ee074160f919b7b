-- One sentence: is a run better than its baseline on the same images, by how much, and is that established.
-- Grain: one row.
-- Parameters: rel, baseline (names, which the sentence shows), level := 0.95
-- Edges: established when exact McNemar p <= 1 - level and the interval of mcnemar excludes 0.
-- Source: macro mcnemar
create or replace macro verdict(rel, baseline, level := 0.95) as table
with _tests as (
    select
        *,
        coalesce(p_exact <= 1 - level and (ci_low > 0 or ci_high < 0), false) as established,
    from mcnemar(rel, baseline, level)
),

_digits as (
    select
        *,
        case when established then least(abs(ci_low), abs(ci_high)) else 1 end as gap,
        -- Enough decimals that neither the interval nor, if established, its distance from 0 is rounded to zero.
        least(6, greatest(1, -floor(log10(nullif(100 * least(gap, (ci_high - ci_low) / 2), 0)))))::integer as digits,
    from _tests
),

_texts as (
    select
        *,
        list_transform(
            case when established and diff < 0 then [-diff, -ci_high, -ci_low] else [diff, ci_low, ci_high] end,
            lambda _x: replace(format('{:.{}f}', round(100 * _x, digits) + 0, digits), '-', '−')
        ) as points,
        format('{:.10g} % interval {} to {}', (100 * level)::double, points[2], points[3]) as interval_text,
        baseline::varchar as name_baseline,
        rel::varchar as name_run,
    from _digits
)

select
    case
        when established
            then format(
                '{} is {} than {} by {} points of accuracy ({}, n = {:,})',
                name_run, case when diff > 0 then 'better' else 'worse' end, name_baseline, points[1], interval_text, n
            )
        when n > 0
            then format(
                '{} against {}: difference not established at this n ({:,} images; {}{} points of accuracy, {})',
                name_run, name_baseline, n, case when diff > 0 then '+' else '' end, points[1], interval_text
            )
        else format(
            '{} against {}: nothing to compare, no labeled image that both have answered', name_run, name_baseline
        )
    end as sentence,
    n,
    diff,
    ci_low,
    ci_high,
    p_exact,
    established,
from _texts;
