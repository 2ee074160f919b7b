-- Images whose label is probably wrong: the model confidently says another class.
-- Grain: one row per image, the least fitting label first, at most $max_images.
-- Parameters: run
-- Edges: needs probs; n_found counts the suspects beyond the limit too.
-- Source: macro label_issues (confident learning)
with _names as (
    select
        classes.class,
        classes.name,
    from runs
    inner join datasets on runs.dataset = datasets.dataset
    inner join classes on datasets.space = classes.space
    where runs.run = {{ literal(run) }}
),

_issues as (
    select
        image_id,
        label,
        suggested,
        confidence,
        self_confidence,
        count(*) over () as n_found,
    from label_issues({{ literal(run) }})
    order by self_confidence, image_id
    limit $max_images
)

select
    _issues.image_id,
    coalesce(images.label_name, _issues.label::varchar) as label_name,
    coalesce(_names.name, _issues.suggested::varchar) as pred_name,
    _issues.confidence,
    _issues.self_confidence as p_label,
    images.uri,
    images.width_px,
    images.height_px,
    _issues.n_found,
from _issues
inner join {{ ident(run) }} as images on _issues.image_id = images.image_id
left join _names on _issues.suggested = _names.class
order by _issues.self_confidence, _issues.image_id;
