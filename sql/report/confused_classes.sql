-- Which class is taken for which, among the 25 classes of the most confused pairs.
-- Grain: one row per true and predicted class with images.
-- Parameters: run
-- Edges: shares are of all images of the true class, so rows of this part need not sum to one; -1 is left out.
-- Source: macros confusion_matrix and top_confusions
with _names as (
    select
        classes.class,
        classes.name,
    from runs
    inner join datasets on runs.dataset = datasets.dataset
    inner join classes on datasets.space = classes.space
    where runs.run = {{ literal(run) }}
),

_places as (
    select
        row_number() over (order by n desc, share_of_label desc, label, pred) as place,
        label,
        pred,
    from top_confusions({{ literal(run) }}, limit_n := 500)
    where pred >= 0
),

_sides as (
    select label as class, place from _places
    union all
    select pred as class, place from _places
),

_chosen as (
    select class
    from _sides
    group by class
    order by min(place), class
    limit 25
),

_cells as (
    select
        label,
        pred,
        n,
        n / nullif(sum(n) over (partition by label), 0) as share,
        sum(n) filter (where label <> pred) over () as mistakes,
    from confusion_matrix({{ literal(run) }})
)

select
    _cells.label,
    _cells.pred,
    coalesce(labels.name, _cells.label::varchar) as label_name,
    coalesce(preds.name, _cells.pred::varchar) as pred_name,
    _cells.n,
    _cells.share,
    _cells.mistakes,
from _cells
semi join _chosen as rows_of on _cells.label = rows_of.class
semi join _chosen as columns_of on _cells.pred = columns_of.class
left join _names as labels on _cells.label = labels.class
left join _names as preds on _cells.pred = preds.class
order by _cells.label, _cells.pred;
