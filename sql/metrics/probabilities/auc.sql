-- Area under the ROC curve and mean average precision, one class against the rest, macro and weighted by label.
-- Grain: one row per run.
-- Parameters: rel (or a list)
-- Edges: classes without images, or without others, are left out of the means; NaN in probs gives NaN.
-- Source: scikit-learn's roc_auc_score(multi_class='ovr') and average_precision_score
create or replace macro auc(rel) as table
select
    count(*) filter (where positives > 0) as classes,
    coalesce(sum(positives), 0)::bigint as n,
    avg(roc_auc) as roc_auc_macro,
    sum(roc_auc * positives) / nullif(sum(positives) filter (where roc_auc is not null), 0) as roc_auc_weighted,
    avg(average_precision) as map_macro,
    sum(average_precision * positives) / nullif(sum(positives), 0) as map_weighted,
    _runs.run,
from (select distinct run from query(_rel(rel))) as _runs
left join auc_per_class(rel) as _classes on _runs.run = _classes.run
group by _runs.run
order by _runs.run;
