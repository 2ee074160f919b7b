-- Which runs are comparable, and why others are not: same images, label space and class policy, none unfinished.
-- Grain: one row per run and other run, as its baseline.
-- Parameters: none
-- Edges: counts labeled images with a prediction; n_both is 0, too, for other data sets; a sample may lack images.
-- Source: this project
create or replace view comparable as
-- Nothing is materialized, so that a filter on run and baseline reads only those two runs.
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
        coalesce(runs.label_space, 'none') as space,
        runs.class_policy as policy,
        coalesce(_sizes.n, 0) as n,
        case
            when _sizes.run is null then format('{} has no predictions', runs.run)
            when runs.status not in ('finished', 'sampled') then format('{} is {}, not finished', runs.run, runs.status)
            when runs.n_ok > n_shown
                then format('outputs of {} for image bytes that have changed since: {:,}', runs.run, n_ok - n_shown)
        end as problem,
        case
            when runs.status = 'sampled'
                then format('{} is a sample, {:,} of {:,} images', runs.run, runs.n_ok + runs.n_errors, runs.n_images)
        end as sample,
    from runs
    left join _sizes on runs.run = _sizes.run
),

_shared as not materialized (
    select
        answers.run,
        others.run as baseline,
        count(*) as n,
    from _answers as answers
    inner join _answers as others on answers.image_id = others.image_id and answers.run <> others.run
    where answers.counts
        and others.counts
    group by answers.run, others.run
),

_pairs as (
    select
        r.run,
        b.run as baseline,
        coalesce(_shared.n, 0) as n_both,
        concat_ws(
            '; ',
            r.problem,
            b.problem,
            case
                when r.dataset <> b.dataset then format('different data sets: {} and {}', r.dataset, b.dataset)
                when n_both = 0 then 'no labeled image that both have answered'
            end,
            case
                when n_both > 0 and r.n > n_both and b.sample is null
                    then format('images only {} answered: {:,}', r.run, r.n - n_both)
            end,
            case
                when n_both > 0 and b.n > n_both and r.sample is null
                    then format('images only {} answered: {:,}', b.run, b.n - n_both)
            end,
            case when r.space <> b.space then format('different label spaces: {} and {}', r.space, b.space) end,
            case when r.policy <> b.policy then format('different class policies: {} and {}', r.policy, b.policy) end
        ) as reasons,
        nullif(concat_ws('; ', r.sample, b.sample), '') as sample,
    from _runs as r
    inner join _runs as b on r.run <> b.run
    left join _shared on r.run = _shared.run and b.run = _shared.baseline
)

select run, baseline, reasons = '' as comparable, nullif(reasons, '') as reason, n_both, sample,
from _pairs;
