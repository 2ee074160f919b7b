-- The answers of runs and of their baselines and whether each is right: what compare_seeds and compare_many read.
-- Grain: one row per run and image; of a run without rows one of NULLs, so that it is counted.
-- Parameters: runs, baselines, is_right (as _right), groups := null (SQL over the columns of runs)
-- Edges: an image twice in a run and a run on both sides are errors; so are two labels of one image, if they decide.
-- Source: definition
create or replace macro _sides(runs, baselines, is_right, groups := null) as table
with _answers as materialized (
    select
        true as is_run,
        run,
        image_id,
        -- NULL where an expression says what is right: then it is not for the labels to agree.
        case when typeof(is_right) = '"NULL"' then label end as label,
        _right(is_right, label, pred) as was_right,
        groups as cluster,
    from query(_rel(runs))
    union all
    select
        false as is_run,
        run,
        image_id,
        case when typeof(is_right) = '"NULL"' then label end as label,
        _right(is_right, label, pred) as was_right,
        null as cluster,
    from query(_rel(baselines))
),

_checks as (
    select
        _once(
            run,
            count(image_id) filter (where was_right is not null),
            count(distinct image_id) filter (where was_right is not null)
        ) as is_sound,
    from _answers
    group by is_run, run
    union all
    select
        case
            when min(is_run) < max(is_run)
                then error(format('{} is both a run and a baseline: leave it out on one side', run))
            else true
        end as is_sound,
    from _answers
    group by run
    union all
    select
        case
            when min(label) < max(label) then error(format(
                'image {} has the label {} in one run and {} in another: compare runs over the same labels, or say by '
                || 'is_right what is right', image_id, min(label), max(label)
            ))
            else true
        end as is_sound,
    from _answers
    where was_right is not null
        and image_id is not null
    group by image_id
)

select
    is_run,
    run,
    image_id,
    was_right,
    cluster,
from _answers
where (select bool_and(is_sound) from _checks);
