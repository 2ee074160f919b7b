-- Counts, precision, recall, F1 and Jaccard index of every class: what per_class and scores share.
-- Grain: one row per run and class among labels and predictions, in order of both; -1 stands for all below 0.
-- Parameters: rel, zero_division
-- Edges: NULL label or pred is left out; class -1 is not a class: its row has counts for the totals, and tp 0.
-- Source: scikit-learn's precision_recall_fscore_support and jaccard_score
create or replace macro _class_scores(rel, zero_division) as table
with _cells as materialized (
    select
        run,
        label,
        pred,
        n,
        label_name,
        pred_name,
    from confusion_matrix(rel)
),

_margins as (
    select
        run,
        greatest(label, -1) as class,
        label_name as name,
        n as support,
        0 as predicted,
        case when _correct(label, pred) then n else 0 end as tp,
    from _cells
    union all
    select
        run,
        greatest(pred, -1) as class,
        pred_name as name,
        0 as support,
        n as predicted,
        0 as tp,
    from _cells
),

_classes as (
    select
        run,
        class,
        any_value(name) as name,
        sum(support)::bigint as support,
        sum(predicted)::bigint as predicted,
        sum(tp)::bigint as tp,
    from _margins
    group by run, class
)

select
    class,
    support,
    predicted,
    tp,
    coalesce(tp / nullif(predicted, 0), zero_division)::double as precision,
    coalesce(tp / nullif(support, 0), zero_division)::double as recall,
    coalesce(2 * tp / nullif(support + predicted, 0), zero_division)::double as f1,
    coalesce(tp / nullif(support + predicted - tp, 0), zero_division)::double as jaccard,
    name,
    run,
from _classes
order by run, class;
