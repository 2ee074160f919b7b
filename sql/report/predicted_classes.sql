-- How often each class is predicted, and how surely.
-- Grain: one row per predicted class, at most 30.
-- Parameters: run
-- Edges: images without a prediction are left out.
-- Source: this project
select
    coalesce(pred_name, case pred when -1 then '(outside)' else pred::varchar end) as name,
    count(*) as n,
    avg(confidence) as mean_confidence,
from {{ ident(run) }}
where pred is not null
group by pred, pred_name
order by n desc, pred
limit 30;
