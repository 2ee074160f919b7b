-- The run is not worse than the baseline by more than a bound: the lower end of the difference of accuracy stays above.
-- Grain: one row, a violation unless violated is false.
-- Parameters: $run, $baseline, $max_drop (a share of the images)
-- Edges: too few images are a violation, and so are runs that cannot be compared; the interval is that of verdict.
-- Source: non-inferiority at 2.5 % (one side of 95 %); macro verdict, view comparable; Tango (1998), Stat. Med. 17:891
with _tests as (
    select
        verdict.n,
        verdict.diff,
        verdict.ci_low,
        verdict.ci_high,
        case when counts.n_groups < counts.n then format(' in {:,} groups', counts.n_groups) else '' end as in_groups,
        -- With groups both tests count what the images are worth, at Student's t.
        1 / counts.deff * (z / coalesce(_t_from_z(z, counts.df), z)) ** 2 as scale,
        coalesce(
            comparable.reason, comparable.sample, case
                when verdict.n = 0 then 'no labeled image that both have answered'
                when counts.deff is null then 'all images are in one group'
            end
        ) as obstacle,
        coalesce(
            not (
                verdict.ci_low > -$max_drop::double
                and _drop_excluded(
                    counts.run_only * scale, counts.baseline_only * scale, counts.n * scale, $max_drop::double, 0.95
                )
            ),
            true
        ) as is_open,
        verdict.ci_high < -$max_drop::double as is_worse,
        -- A run as good as its baseline passes with a power of 80 % if this n notices a drop of that size.
        _smallest_drop(
            verdict.n / counts.deff, (counts.run_only + counts.baseline_only) / counts.deff, 0.95
        ) as smallest,
    from verdict($run, $baseline, groups := {{ groups | default('null') }}) as verdict
    cross join _pair_counts($run, $baseline, groups := {{ groups | default('null') }}) as counts
    cross join (select _norm_ppf(0.975) as z) as _normal
    left join comparable on comparable.run = $run and comparable.baseline = $baseline
)

select
    n,
    diff,
    ci_low,
    ci_high,
    smallest as smallest_drop_noticed,
    obstacle is not null or is_open as violated,
    case
        when obstacle is not null then format('not comparable with {}: {}', $baseline::varchar, obstacle)
        else format(
            '{:+.2f} points of accuracy against {}, 95 % interval {:+.2f} to {:+.2f}, n = {:,}{}: {}; {}',
            100 * diff, $baseline::varchar, 100 * ci_low, 100 * ci_high, n, in_groups,
            case
                when is_worse then format('the drop is larger than {:g} points', 100 * $max_drop::double)
                when is_open then format('a drop of {:g} points is not excluded', 100 * $max_drop::double)
                else format('a drop of {:g} points is excluded', 100 * $max_drop::double)
            end,
            case
                when is_open and not is_worse and smallest > $max_drop then format(
                    'label more images, this n notices 80 % of drops of {:.2g} points', 100 * smallest
                )
                else format('this n notices 80 % of drops of {:.2g} points', 100 * smallest)
            end
        )
    end as message,
from _tests;
