-- The run is not worse than the baseline: no drop of accuracy on the same images is established beyond the allowed one.
-- Grain: one row, a violation unless violated is false.
-- Parameters: $run, $baseline, $allow_drop (a share of the images, 0 for none)
-- Edges: established: paired 95 % interval below -$allow_drop and exact p <= 0.05; not comparable is a violation.
-- Source: macro mcnemar; runs that were imported do not tell their class policy
with _runs as (
    select
        count(distinct output_space) as spaces,
        count(distinct class_policy) filter (where model <> 'imported') as policies,
    from runs
    where run in ($run, $baseline)
),

_tests as (
    select
        mcnemar.*,
        accuracy.n as n_run,
        case
            when _runs.spaces > 1 then format('{} predicts other classes: not comparable', $baseline::varchar)
            when _runs.policies > 1 then format('{} has another class policy: not comparable', $baseline::varchar)
            when mcnemar.n = 0 then format('no labelled image that {} has answered too', $baseline::varchar)
        end as obstacle,
        mcnemar.p_exact <= 0.05 and (mcnemar.ci_low > 0 or mcnemar.ci_high < 0) as established,
    from mcnemar($baseline, $run) as mcnemar
    cross join accuracy($run) as accuracy
    cross join _runs
)

select
    n,
    accuracy_a as baseline_accuracy,
    accuracy_b as accuracy,
    diff,
    ci_low,
    ci_high,
    p_exact,
    obstacle is not null or established and ci_high < -$allow_drop::double as violated,
    coalesce(
        obstacle,
        format(
            '{:+.2f} points of accuracy against {}, 95 % interval {:+.2f} to {:+.2f}, exact p = {:.2g}, n = {:,}{}: {}',
            100 * diff, $baseline::varchar, 100 * ci_low, 100 * ci_high, p_exact, n,
            case when n < n_run then format(' of {:,}', n_run) else '' end,
            case
                when not established then 'no difference established'
                when diff > 0 then 'better'
                when ci_high < -$allow_drop::double then 'worse'
                else 'worse, but a drop beyond the allowed one is not established'
            end
        )
    ) as message,
from _tests;
