-- Area under the ROC curve and mean average precision, one class against the rest, macro and weighted by label.
-- Grain: one row per run.
-- Parameters: rel (or a list), exact := null (true, false; null: up to 250 million probabilities)
-- Edges: classes without images, or without others, are left out; NaN gives NaN; max_error: of histograms, else 0.
-- Source: scikit-learn's roc_auc_score(multi_class='ovr') and average_precision_score
create or replace macro auc(rel, exact := null) as table
select
    count(*) filter (where positives > 0) as classes,
    coalesce(sum(positives), 0)::bigint as n,
    avg(roc_auc) as roc_auc_macro,
    sum(roc_auc * positives) / nullif(sum(positives) filter (where roc_auc is not null), 0) as roc_auc_weighted,
    avg(average_precision) as map_macro,
    sum(average_precision * positives) / nullif(sum(positives), 0) as map_weighted,
    any_value(method) as method,
    -- Each holds for both of its means.
    greatest(
        avg(roc_auc_max_error),
        sum(roc_auc_max_error * positives) / nullif(sum(positives) filter (where roc_auc is not null), 0)
    ) as roc_auc_max_error,
    greatest(
        avg(average_precision_max_error),
        sum(average_precision_max_error * positives) / nullif(sum(positives), 0)
    ) as map_max_error,
    _runs.run,
from (select distinct run from query(_rel(rel))) as _runs
left join auc_per_class(rel, exact := exact) as _classes on _runs.run = _classes.run
group by _runs.run
order by _runs.run;
