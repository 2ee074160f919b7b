-- The run is not worse than the baseline: no drop of accuracy on the same images is established beyond the allowed one.
-- Grain: one row, a violation unless violated is false.
-- Parameters: $run, $baseline, $allow_drop (a share of the images, 0 for none)
-- Edges: established and interval as in verdict; runs that cannot be compared (view comparable) are a violation.
-- Source: macro verdict, view comparable (runs only: other relations need images that both have answered)
with _tests as (
    select
        verdict.n,
        (counts.both_right + counts.baseline_only) / nullif(counts.n, 0) as accuracy_baseline,
        (counts.both_right + counts.run_only) / nullif(counts.n, 0) as accuracy_run,
        case when counts.n_groups < counts.n then format(' in {:,} groups', counts.n_groups) else '' end as in_groups,
        verdict.diff,
        verdict.ci_low,
        verdict.ci_high,
        verdict.p_exact,
        verdict.established,
        verdict.balanced_diff,
        verdict.balanced_low,
        verdict.balanced_high,
        _smallest_drop(
            verdict.n / counts.deff, (counts.run_only + counts.baseline_only) / counts.deff, 0.95
        ) as smallest,
        accuracy.n as n_run,
        coalesce(
            comparable.reason, comparable.sample, case
                when verdict.n = 0 then 'no labeled image that both have answered'
                when counts.deff is null then 'all images are in one group'
            end
        ) as obstacle,
        coalesce(verdict.established and verdict.ci_high < -$allow_drop::double, false) as is_worse,
    from verdict($run, $baseline, groups := {{ groups | default('null') }}) as verdict
    cross join _pair_counts($run, $baseline, groups := {{ groups | default('null') }}) as counts
    cross join accuracy($run) as accuracy
    left join comparable on comparable.run = $run and comparable.baseline = $baseline
)

select
    n,
    accuracy_baseline,
    accuracy_run,
    diff,
    ci_low,
    ci_high,
    p_exact,
    smallest as smallest_drop_noticed,
    obstacle is not null or is_worse as violated,
    case
        when obstacle is not null then format('not comparable with {}: {}', $baseline::varchar, obstacle)
        else format(
            '{:+.2f} points of accuracy against {}, 95 % interval {:+.2f} to {:+.2f}, '
            || '{}p = {:.2g}, n = {:,}{}{}: {}{}',
            100 * diff, $baseline::varchar, 100 * ci_low, 100 * ci_high,
            case when in_groups = '' then 'exact ' else '' end, p_exact, n, in_groups,
            case when n < n_run then format(' of {:,}', n_run) else '' end,
            case
                when not established then format(
                    'no difference established, and this n notices 80 % of drops of {:.2g} points', 100 * smallest
                )
                when diff > 0 then 'better'
                when is_worse then 'worse'
                else 'worse, but a drop beyond the allowed one is not established'
            end,
            case
                when diff >= 0 and balanced_high < 0 then format(
                    '; but balanced accuracy {:+.2f} points, 95 % interval {:+.2f} to {:+.2f}',
                    100 * balanced_diff, 100 * balanced_low, 100 * balanced_high
                )
                else ''
            end
        )
    end as message,
from _tests;
