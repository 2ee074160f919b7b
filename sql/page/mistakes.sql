-- Images to look at: confident mistakes, suspected labels, uncertain answers.

-- name: confident_mistakes
-- The most confident mistakes of a run, with the names of the classes.
-- Unlabeled images are left out; without probs the label has no probability.
select
    mistakes.image_id,
    coalesce(images.label_name, mistakes.label::varchar) as label_name,
    case
        when mistakes.pred = -1 then '(outside)'
        else coalesce(images.pred_name, mistakes.pred::varchar)
    end as pred_name,
    mistakes.confidence,
    {{ 'mistakes.p_label' if probs else 'null::double as p_label' }},
    images.uri,
    images.width_px,
    images.height_px,
{% if probs %}
from worst_mistakes({{ literal(run) }}, max_rows := $max_images) as mistakes
inner join {{ ident(run) }} as images on mistakes.image_id = images.image_id
{% else %}
from {{ ident(run) }} as mistakes
inner join {{ ident(run) }} as images on mistakes.image_id = images.image_id
where not mistakes.correct
{% endif %}
order by
    case when not isnan(mistakes.confidence) then mistakes.confidence end desc nulls last,
    p_label,
    mistakes.image_id
limit $max_images;


-- name: suspected_labels
-- Images whose label is suspected: the model confidently predicts another class.
-- Images whose label of now somebody has reviewed are left out.
-- Needs probs; n_found counts all suspects and n_wrong estimates how many labels are wrong, also beyond $max_images.
with _issues as (
    select
        image_id,
        label,
        suggested,
        confidence,
        self_confidence,
        p_wrong,
        count(*) over () as n_found,
        sum(p_wrong) over () as n_wrong,
    from label_issues({{ literal(run) }})
    where image_id not in (select label_history.image_id from label_history where label_history.is_current)
    order by self_confidence, image_id
    limit $max_images
)

select
    _issues.image_id,
    coalesce(images.label_name, _issues.label::varchar) as label_name,
    coalesce(names.name, _issues.suggested::varchar) as pred_name,
    _issues.confidence,
    _issues.self_confidence as p_label,
    images.uri,
    images.width_px,
    images.height_px,
    _issues.p_wrong,
    _issues.n_found,
    _issues.n_wrong,
from _issues
inner join {{ ident(run) }} as images on _issues.image_id = images.image_id
left join class_names as names on names.run = {{ literal(run) }} and _issues.suggested = names.class
order by _issues.self_confidence, _issues.image_id;


-- name: least_confident
-- The answers with the lowest confidence, right or wrong; correct is NULL without a label.
select
    image_id,
    coalesce(label_name, label::varchar) as label_name,
    coalesce(pred_name, case pred when -1 then '(outside)' else pred::varchar end) as pred_name,
    confidence,
    null::double as p_label,
    correct,
    uri,
    width_px,
    height_px,
from {{ ident(run) }}
where pred is not null
    and not isnan(confidence::double)
order by confidence, image_id
limit $max_images;


-- name: shown_images
-- Bytes or path of the images that the page shows; bytes is NULL for images by reference.
select
    images.image_id,
    struct_pack(bytes := image_bytes.bytes, path := images.uri, sha256 := images.sha256) as image,
from images
left join image_bytes on images.image_id = image_bytes.image_id
where images.image_id in (select unnest($ids));
