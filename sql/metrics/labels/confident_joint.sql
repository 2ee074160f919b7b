-- How many images of each label confidently belong to each class, counted and scaled to the numbers of labels.
-- Grain: one row per run, label and class that occur together, and one per class with itself, in order of both.
-- Parameters: rel (or a list)
-- Edges: left out as in label_quality; raw is at least 1 on the diagonal; calibrated is whole and keeps the totals.
-- Source: Northcutt, Jiang & Chuang (2021), Confident Learning; whole numbers keep the sum, ties to the higher class
create or replace macro confident_joint(rel) as table
with _classes as materialized (
    select
        run,
        class,
        n,
    from confident_thresholds(rel)
),

_counts as (
    select
        run,
        label,
        suggested as true_class,
        count(*) as n,
    from _confident_guesses(rel)
    where suggested is not null
    group by run, label, suggested
    union all
    select
        run,
        class as label,
        class as true_class,
        0 as n,
    from _classes
),

_cells as (
    select
        run,
        label,
        true_class,
        case when label = true_class then greatest(1, sum(n)) else sum(n) end::bigint as raw,
    from _counts
    group by run, label, true_class
),

_scaled as (
    select
        _cells.run,
        _cells.label,
        _cells.true_class,
        _cells.raw,
        _classes.n,
        _cells.raw / nullif(sum(_cells.raw) over (partition by _cells.run, _cells.label), 0) * _classes.n as share,
        round_even(share, 0) as whole,
    from _cells
    inner join _classes
        on _cells.run = _classes.run
        and _cells.label = _classes.class
),

-- Rounding can miss the total of a label; the missing units go to the cells that rounding changed most.
_ranked as (
    select
        *,
        n - sum(whole) over (partition by run, label) as missing,
        row_number() over (partition by run, label order by share - whole desc, true_class desc) as rank_from_above,
        row_number() over (partition by run, label order by share - whole asc, true_class asc) as rank_from_below,
    from _scaled
)

select
    label,
    true_class,
    raw,
    (whole + (rank_from_above <= missing)::integer - (rank_from_below <= -missing)::integer)::bigint as calibrated,
    run,
from _ranked
order by run, label, true_class;
