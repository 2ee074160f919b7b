-- Area under the ROC curve and average precision of each class against the rest.
-- Grain: one row per class of probs, in order of it.
-- Parameters: rel
-- Edges: NULL label, pred or probs is left out; class absent or alone: NULL; NaN in a class gives NaN; ties share.
-- Source: Hanley & McNeil (1982), Radiology 143:29-36; scikit-learn's roc_auc_score and average_precision_score
create or replace macro auc_per_class(rel) as table
with _labels as materialized (
    select
        label,
        len(probs) as width,
        count(*) as n,
        min(_p_of(probs, label)) as lowest,
    from query_table(rel)
    where label is not null
        and pred is not null
        and probs is not null
    group by label, width
),

_classes as (
    select unnest(range(max(width))) as class
    from _labels
),

_sizes as materialized (
    select
        _classes.class,
        coalesce(sum(_labels.n) filter (where _labels.width > _classes.class), 0)::bigint as n,
        min(_labels.lowest) filter (where _labels.label = _classes.class)::double as lowest,
    from _classes
    cross join _labels
    group by _classes.class
),

_lowest as (
    select list(lowest order by class) as lowest
    from _sizes
),

_lists as (
    select
        answers.label,
        -- Unnesting an array, which is what runs store, takes 40 times as long as unnesting a list.
        answers.probs::double[] as probs,
        _lowest.lowest,
    from query_table(rel) as answers
    cross join _lowest
    where answers.label is not null
        and answers.pred is not null
        and answers.probs is not null
),

_scored as (
    select
        label,
        unnest(probs) as p,
        unnest(lowest) as lowest,
        generate_subscripts(lowest, 1) - 1 as class,
    from _lists
),

-- What lies below every image of the class changes no rank that counts. NaN is above every number and stays.
_ranked as (
    select
        class,
        label = class as is_positive,
        p,
        rank() over (partition by class order by p desc) as first_rank,
        count(*) over (partition by class order by p desc) as last_rank,
        isnan(max(p) over (partition by class)) as has_nan,
    from _scored
    where p >= lowest
),

_positives as (
    select
        class,
        has_nan,
        (first_rank + last_rank) / 2 as rank,
        count(*) over (partition by class order by p desc) / last_rank as precision,
    from _ranked
    where is_positive
),

_sums as (
    select
        class,
        count(*) as positives,
        any_value(has_nan) as has_nan,
        sum(rank) as ranks,
        avg(precision) as precision,
    from _positives
    group by class
)

select
    _sizes.class,
    coalesce(_sums.positives, 0) as positives,
    case
        when _sums.has_nan then 'nan'::double
        else 1 - (_sums.ranks - _sums.positives * (_sums.positives + 1) / 2)
            / nullif(_sums.positives * (_sizes.n - _sums.positives), 0)
    end as roc_auc,
    case when _sums.has_nan then 'nan'::double else _sums.precision end as average_precision,
from _sizes
left join _sums
    on _sizes.class = _sums.class
order by _sizes.class;
