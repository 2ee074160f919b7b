-- Which runs can be compared, and why others cannot: same images, label space and class policy, both finished.
-- Grain: one row per run and other run, as its baseline.
-- Parameters: none
-- Edges: counts labelled images with a prediction; n_both is 0, too, for runs of different data sets or label spaces.
-- Source: this project
create or replace view comparable as
-- Nothing is materialized, so that a filter on run and baseline reads those two runs alone.
with _answers as not materialized (
    select
        run,
        image_id,
        label is not null and pred is not null as counts,
    from predictions
),

_sizes as not materialized (
    select
        run,
        count(*) as n_shown,
        count(*) filter (where counts) as n,
    from _answers
    group by run
),

_runs as not materialized (
    select
        runs.run,
        runs.dataset,
        coalesce(runs.output_space, 'none') as space,
        runs.class_policy as rule,
        coalesce(_sizes.n, 0) as n,
        case
            when _sizes.run is null then format('{} has no predictions', runs.run)
            when runs.status <> 'finished' then format('{} is {}, not finished', runs.run, runs.status)
            when runs.n_ok > n_shown
                then format('answers of {} for other bytes than the images have now: {:,}', runs.run, n_ok - n_shown)
        end as problem,
    from runs
    left join _sizes on runs.run = _sizes.run
),

_shared as not materialized (
    select
        b.run,
        a.run as baseline,
        count(*) as n,
    from _answers as b
    inner join _answers as a on b.image_id = a.image_id and b.run <> a.run
    where b.counts
        and a.counts
    group by b.run, a.run
),

_pairs as (
    select
        b.run,
        a.run as baseline,
        coalesce(_shared.n, 0) as n_both,
        concat_ws(
            '; ',
            b.problem,
            a.problem,
            case
                when b.dataset <> a.dataset then format('other images: {} and {}', b.dataset, a.dataset)
                when n_both = 0 then 'no labelled image that both have answered'
            end,
            case when n_both > 0 and b.n > n_both then format('images only {} answered: {:,}', b.run, b.n - n_both) end,
            case when n_both > 0 and a.n > n_both then format('images only {} answered: {:,}', a.run, a.n - n_both) end,
            case when b.space <> a.space then format('other label space: {} and {}', b.space, a.space) end,
            case when b.rule <> a.rule then format('other class policy: {} and {}', b.rule, a.rule) end
        ) as reasons,
    from _runs as b
    inner join _runs as a on b.run <> a.run
    left join _shared on b.run = _shared.run and a.run = _shared.baseline
)

select run, baseline, reasons = '' as comparable, nullif(reasons, '') as reason, n_both,
from _pairs;
