-- Precision, recall, F1 and Jaccard index of every class, with the 95 % Wilson interval of recall.
-- Grain: one row per class among labels and predictions, in order of class.
-- Parameters: rel, zero_division := 0.0 (of a class never predicted, or without images; may be NULL)
-- Edges: NULL label or pred is left out; pred -1 is a miss of its label and no class of its own.
-- Source: scikit-learn's precision_recall_fscore_support and jaccard_score
create or replace macro per_class(rel, zero_division := 0.0) as table
with _cells as materialized (
    select
        label,
        pred,
        n,
    from confusion_matrix(rel)
),

_margins as (
    select
        label as class,
        n as support,
        0 as predicted,
        case when label = pred then n else 0 end as tp,
    from _cells
    union all
    select
        pred as class,
        0 as support,
        n as predicted,
        0 as tp,
    from _cells
    where pred >= 0
),

_classes as (
    select
        class,
        sum(support)::bigint as support,
        sum(predicted)::bigint as predicted,
        sum(tp)::bigint as tp,
    from _margins
    group by class
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
    wilson_low(tp, support, 0.95) as recall_low,
    wilson_high(tp, support, 0.95) as recall_high,
from _classes
order by class;
