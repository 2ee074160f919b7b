-- Area under the ROC curve and average precision of each class against the rest.
-- Grain: one row per run and class of probs, in order of both.
-- Parameters: rel (or a list)
-- Edges: NULL label, pred or probs is left out; class absent or alone: NULL; NaN in a class gives NaN; ties share.
-- Source: Hanley & McNeil (1982), Radiology 143:29-36; scikit-learn's roc_auc_score and average_precision_score
create or replace macro auc_per_class(rel) as table
with _scored as (
    select
        run,
        label,
        unnest(probs) as p,
        generate_subscripts(probs, 1) - 1 as class,
    from query(_rel(rel))
    where label is not null
        and pred is not null
        and probs is not null
),

_ranked as (
    select
        run,
        class,
        label = class as is_positive,
        p,
        rank() over (partition by run, class order by p desc) as first_rank,
        count(*) over (partition by run, class order by p desc) as last_rank,
        count(*) over (partition by run, class) as n,
        isnan(max(p) over (partition by run, class)) as has_nan,
    from _scored
),

_positives as (
    select
        run,
        class,
        n,
        has_nan,
        (first_rank + last_rank) / 2 as rank,
        count(*) over (partition by run, class order by p desc) / last_rank as precision,
    from _ranked
    where is_positive
),

_sums as (
    select
        run,
        class,
        count(*) as positives,
        any_value(n) - count(*) as negatives,
        any_value(has_nan) as has_nan,
        sum(rank) as ranks,
        avg(precision) as precision,
    from _positives
    group by run, class
),

_classes as (
    select distinct
        run,
        class,
    from _ranked
)

select
    _classes.class,
    coalesce(_sums.positives, 0) as positives,
    case
        when _sums.has_nan then 'nan'::double
        else 1 - (_sums.ranks - _sums.positives * (_sums.positives + 1) / 2)
            / nullif(_sums.positives * _sums.negatives, 0)
    end as roc_auc,
    case when _sums.has_nan then 'nan'::double else _sums.precision end as average_precision,
    _classes.run,
from _classes
left join _sums
    on _classes.run = _sums.run
    and _classes.class = _sums.class
order by _classes.run, _classes.class;
