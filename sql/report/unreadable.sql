-- Files that could not be read or computed, by stage and error, with an example.
-- Grain: one row per stage and error, at most 20.
-- Parameters: run
-- Edges: errors of this run, and of adding its data set (run NULL); messages stay in the table `errors`.
-- Source: table errors
select
    errors.stage,
    errors.error,
    count(*) as n,
    min(coalesce(errors.uri, images.uri)) as example,
from errors
inner join runs on errors.dataset = runs.dataset and runs.run = {{ literal(run) }}
left join images on errors.image_id = images.image_id
where errors.run is null
    or errors.run = {{ literal(run) }}
group by errors.stage, errors.error
order by n desc, errors.stage, errors.error
limit 20;
