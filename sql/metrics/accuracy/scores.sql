-- Balanced accuracy, macro, weighted and micro averages, Cohen's kappa and Matthews correlation.
-- Grain: one row per run.
-- Parameters: rel (or a list), zero_division := 0.0 (of an undefined precision or recall; NULL: left out of the mean)
-- Edges: classes are those of labels and predictions; below 0 is wrong and not a class; 0 / 0: kappa NULL, mcc 0.
-- Source: scikit-learn; Cohen (1960), Educ. Psychol. Meas. 20:37-46; Gorodkin (2004), Comput. Biol. Chem. 28:367-374.
create or replace macro scores(rel, zero_division := 0.0) as table
with _sums as (
    select
        _runs.run,
        coalesce(sum(support), 0)::bigint as n,
        sum(tp) as right_n,
        sum(support) filter (where class >= 0) as labels_inside,
        sum(predicted) filter (where class >= 0) as preds_inside,
        coalesce(sum(support::hugeint * predicted) filter (where class >= 0), 0) as chance,
        sum(support::hugeint * support) as labels_squared,
        sum(predicted::hugeint * predicted) as preds_squared,
        avg(recall) filter (where support > 0 and class >= 0) as balanced_accuracy,
        avg(precision) filter (where class >= 0) as precision_macro,
        avg(recall) filter (where class >= 0) as recall_macro,
        avg(f1) filter (where class >= 0) as f1_macro,
        avg(jaccard) filter (where class >= 0) as jaccard_macro,
        sum(precision * support) filter (where class >= 0)
        / nullif(sum(support) filter (where class >= 0 and precision is not null), 0) as precision_weighted,
        sum(recall * support) filter (where class >= 0)
        / nullif(sum(support) filter (where class >= 0 and recall is not null), 0) as recall_weighted,
        sum(f1 * support) filter (where class >= 0)
        / nullif(sum(support) filter (where class >= 0 and f1 is not null), 0) as f1_weighted,
    from (select distinct run from query(_rel(rel))) as _runs
    left join _class_scores(rel, zero_division) as _classes on _runs.run = _classes.run
    group by _runs.run
)

select
    n,
    right_n / nullif(n, 0) as accuracy,
    balanced_accuracy,
    precision_macro,
    recall_macro,
    f1_macro,
    jaccard_macro,
    precision_weighted,
    recall_weighted,
    f1_weighted,
    2 * right_n / nullif(labels_inside + preds_inside, 0) as f1_micro,
    (right_n * n - chance) / nullif(n::hugeint * n - chance, 0) as cohen_kappa,
    case
        when n = 0 then null
        when labels_squared = n::hugeint * n or preds_squared = n::hugeint * n then 0e0
        else (right_n * n - chance)
            / nullif(sqrt((n::hugeint * n - labels_squared)::double * (n::hugeint * n - preds_squared)::double), 0)
    end as mcc,
    run,
from _sums
order by run;
