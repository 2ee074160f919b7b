-- As _exact_ranks, from a histogram of each class, in one pass and bounded memory: a bin stands for a probability.
-- Grain: one row per run, class and bin with images of the class; bins are 1/256 wide on the scale ln(p / (1 - p)).
-- Parameters: rel, sizes (a relation: rows of _class_sizes; runs that it lacks are not read)
-- Edges: as _exact_ranks; is_mixed: several probabilities in the bin, so that the order of its images is not known.
-- Source: definition
create or replace macro _binned_ranks(rel, sizes) as table
with _scored as (
    select
        run,
        class,
        label,
        p,
        -- As float32, whose neighbors are further apart than logarithms are wrong: no bin disagrees with the order.
        -- NaN is above all numbers, and all beyond the ends share a bin, whose max and min tell.
        least(greatest(p, 1.1754944e-38), 99999994e-8)::float::double as inside,
    from _called_scores(rel, sizes)
),

_bins as (
    select
        run,
        class,
        floor(256 * (ln(inside) - ln(1 - inside)))::smallint as bin,
        count(*) as n,
        count(*) filter (where label = class) as here,
        min(p) < max(p) as is_mixed,
        isnan(max(p)) as has_nan,
    from _scored
    group by run, class, bin
)

select
    run,
    class,
    bool_or(has_nan) over (partition by run, class) as has_nan,
    here,
    sum(here) over _above::bigint as called,
    sum(here) over (partition by run, class)::bigint as positives,
    sum(n) over _above::bigint as last_rank,
    last_rank - n - (called - here) as others_above,
    last_rank - called as others_called,
    is_mixed,
from _bins
window _above as (partition by run, class order by bin desc)
qualify here > 0;
