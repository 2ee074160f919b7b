-- Precision, recall, F1 and Jaccard index of every class, with Wilson intervals.
-- Grain: one row per run and class among labels and predictions, in order of both.
-- Parameters: rel (or a list), zero_division := 0.0 (class never predicted, or without images; or NULL), level := 0.95
-- Edges: NULL label or pred is left out; below 0 is not a class: a pred there is a miss, a label there has no row.
-- Source: scikit-learn's precision_recall_fscore_support and jaccard_score
create or replace macro per_class(rel, zero_division := 0.0, level := 0.95) as table
select
    class,
    support,
    predicted,
    tp,
    precision,
    recall,
    f1,
    jaccard,
    wilson_low(tp, support, level) as recall_low,
    wilson_high(tp, support, level) as recall_high,
    wilson_low(tp, predicted, level) as precision_low,
    wilson_high(tp, predicted, level) as precision_high,
    -- F1 is 2 J / (1 + J) of the Jaccard index J, a share of the images that have the class or were given it.
    2 * wilson_low(tp, support + predicted - tp, level)
    / (1 + wilson_low(tp, support + predicted - tp, level)) as f1_low,
    2 * wilson_high(tp, support + predicted - tp, level)
    / (1 + wilson_high(tp, support + predicted - tp, level)) as f1_high,
    name as label_name,
    run,
from _class_scores(rel, zero_division)
where class >= 0
    and (select coalesce(bool_and(_once(run, n_ids, n_images)), true) from _repeats(rel))
order by run, class;
