-- Seconds of each run by stage, which stage limits its speed, and where images were decoded, with the reason.
-- Grain: one row per run and stage.
-- Parameters: none
-- Edges: seconds of a stage are summed over workers, total_seconds are elapsed time, NULL for runner files.
-- Source: this project
create or replace view run_profile as
with _stages as (
    select
        run,
        images_per_second,
        total_seconds,
        decoding,
        seconds as profile,
        unnest(['read', 'decode', 'transform', 'forward', 'write']) as stage,
    from runs
    where seconds is not null
),

_seconds as (
    select
        run,
        images_per_second,
        total_seconds,
        decoding,
        stage,
        coalesce((profile ->> stage)::double, 0) as seconds,
    from _stages
)

select
    run,
    stage,
    seconds,
    seconds / nullif(sum(seconds) over (partition by run), 0) as share,
    seconds > 0 and seconds = max(seconds) over (partition by run) as binds,
    images_per_second,
    total_seconds,
    decoding,
from _seconds
order by run, share desc;
