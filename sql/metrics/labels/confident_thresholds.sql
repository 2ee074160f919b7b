-- Mean probability of each class on the images labeled with it: the threshold of confident learning.
-- Grain: one row per run and class of probs, in order of both.
-- Parameters: rel (or a list)
-- Edges: NULL label, pred or probs, NaN in probs and labels outside them are left out; class absent gives NULL.
-- Source: Northcutt, Jiang & Chuang (2021), Confident Learning, J. Artif. Intell. Res. 70:1373-1411.
create or replace macro confident_thresholds(rel) as table
with _answers as (
    select
        run,
        label,
        len(probs) as width,
        _p_of(probs, label)::double as p_label,
    from query(_rel(rel))
    where label is not null
        and pred is not null
        and not isnan(list_max(probs)::double)
),

_means as (
    select
        run,
        label,
        count(*) as n,
        avg(p_label) as threshold,
    from _answers
    where p_label is not null
    group by run, label
),

_classes as (
    select
        run,
        unnest(range(max(width))) as class,
    from _answers
    group by run
)

select
    _classes.class,
    coalesce(_means.n, 0) as n,
    _means.threshold,
    _classes.run,
from _classes
left join _means
    on _classes.run = _means.run
    and _classes.class = _means.label
order by _classes.run, _classes.class;
