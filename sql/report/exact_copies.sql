-- Images of the run's data set with the same bytes as another.
-- Grain: one row.
-- Parameters: run
-- Edges: copies counts images beyond the first of each kind; of the whole data set, not only of the run's selection.
-- Source: this project
with _kinds as (
    select
        images.sha256,
        count(*) as n,
        count(distinct images.split) as n_splits,
        count(distinct images.label) as n_labels,
    from images
    inner join runs on images.dataset = runs.dataset
    where runs.run = {{ literal(run) }}
    group by images.sha256
    having count(*) > 1
)

select
    coalesce(sum(n - 1), 0)::bigint as copies,
    count(*) as kinds,
    count(*) filter (where n_splits > 1) as in_two_splits,
    count(*) filter (where n_labels > 1) as with_two_labels,
from _kinds;
