-- The largest gap of accuracy between two groups of images, with an interval that allows for having searched for it.
-- Grain: one row per run.
-- Parameters: rel (or a list), expr (as accuracy_by), min_n := 20, level := 0.95, is_right := null (as accuracy)
-- Edges: groups below min_n are left out and counted; fewer than two: NULL; ci_low 0: no two groups surely differ.
-- Source: Newcombe (1998), Stat. Med. 17:873-890 for all pairs at once (Bonferroni); the largest lower and upper end
create or replace macro largest_gap(rel, expr, min_n := 20, level := 0.95, is_right := null) as table
with _slices as (
    select
        run,
        slice,
        n,
        correct,
        accuracy,
        count(*) filter (where n >= min_n) over (partition by run) as n_groups,
        n >= min_n as is_group,
    from accuracy_by(rel, expr, level := level, is_right := is_right)
),

_groups as (
    select
        run,
        slice,
        n,
        accuracy,
        row_number() over (partition by run order by accuracy desc, slice) as place,
        row_number() over (partition by run order by accuracy asc, slice) as place_below,
        wilson_low(correct, n, 1 - 2 * (1 - _level(level)) / (n_groups * (n_groups - 1))) as low,
        wilson_high(correct, n, 1 - 2 * (1 - _level(level)) / (n_groups * (n_groups - 1))) as high,
    from _slices
    where is_group
        and n_groups > 1
),

_gaps as (
    select
        _a.run,
        max(
            _a.accuracy - _b.accuracy - sqrt((_a.accuracy - _a.low) ** 2 + (_b.high - _b.accuracy) ** 2)
        ) as ci_low,
        max(
            _a.accuracy - _b.accuracy + sqrt((_a.high - _a.accuracy) ** 2 + (_b.accuracy - _b.low) ** 2)
        ) as ci_high,
    from _groups as _a
    inner join _groups as _b
        on _a.run = _b.run
        and _a.place <> _b.place
    group by _a.run
),

_counts as (
    select
        run,
        count(*) filter (where is_group) as n_groups,
        count(*) filter (where not is_group) as n_small,
    from _slices
    group by run
)

select
    _counts.n_groups,
    _counts.n_small,
    _best.slice as best,
    _worst.slice as worst,
    _best.n as n_best,
    _worst.n as n_worst,
    _best.accuracy as accuracy_best,
    _worst.accuracy as accuracy_worst,
    _best.accuracy - _worst.accuracy as gap,
    case when _gaps.ci_low is not null then greatest(0e0, _gaps.ci_low) end as ci_low,
    case when _gaps.ci_high is not null then least(1e0, _gaps.ci_high) end as ci_high,
    _counts.run,
from _counts
left join _groups as _best
    on _counts.run = _best.run
    and _best.place = 1
left join _groups as _worst
    on _counts.run = _worst.run
    and _worst.place_below = 1
left join _gaps on _counts.run = _gaps.run
order by _counts.run;
