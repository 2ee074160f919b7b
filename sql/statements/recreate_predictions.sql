-- Predictions of all runs in one relation: from accuracy_by('predictions', run).
-- Grain: one row per run and image.
-- Parameters: runs, the names of all runs
-- Edges: no rows while there is no run.
-- Source: this project
create or replace view predictions as
{% for run in runs %}
select
    {{ literal(run) }} as run,
    image_id,
    split,
    label,
    pred,
    confidence,
    correct,
from {{ ident(run) }}
{% if not loop.last %}
union all
{% endif %}
{% else %}
select
    null::varchar as run,
    null::bigint as image_id,
    null::varchar as split,
    null::integer as label,
    null::integer as pred,
    null::float as confidence,
    null::boolean as correct,
where false
{% endfor %};
