-- How many right and wrong answers there are at each confidence, in 20 bins of equal width.
-- Grain: one row per bin that holds images.
-- Parameters: run
-- Edges: confidence 1 is in the last bin; unlabelled images and those without a confidence are left out.
-- Source: this project
select
    least(19, greatest(0, floor(confidence::double * 20)))::integer / 20 as low,
    count(*) filter (where correct) as n_right,
    count(*) filter (where not correct) as n_wrong,
from {{ ident(run) }}
where correct is not null
    and not isnan(confidence::double)
group by low
order by low;
