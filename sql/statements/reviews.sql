-- Reviews of labels (relations reviews and reviewed) and what they change.

-- name: match_reviews
-- The image of each row of a review, with its label of now, and the reviews of the same bytes that are recorded.
select
    reviews.line,
    images.image_id,
    images.dataset,
    images.uri,
    images.sha256,
    images.label,
    images.accepted,
    classes.name as label_name,
    datasets.label_space,
    (
        select list(struct_pack(review := known.review, new_label := known.new_label, reviewed_at := known.reviewed_at, applied_at := known.applied_at))
        from label_changes as known
        where known.image_id = images.image_id
            and known.sha256 = images.sha256
    ) as recorded,
from reviews
inner join images on reviews.image_id = images.image_id
left join datasets on images.dataset = datasets.dataset
left join classes on datasets.label_space = classes.label_space and images.label = classes.class
order by reviews.line;


-- name: update_labels
-- The new labels of the relation reviewed. Alone in its statement: DuckDB updates a plain column in place and notices
-- another transaction that does so, but replaces the whole row where a list is updated, too, and notices none.
update images
set label = reviewed.new_label
from reviewed
where images.image_id = reviewed.image_id;


-- name: update_accepted
-- Where an image has several right answers, the old label goes from them, and the new one is among them.
update images
set accepted = list_sort(list_distinct(list_append(
    list_filter(images.accepted, lambda one: one is distinct from reviewed.old_label), reviewed.new_label
)))
from reviewed
where images.image_id = reviewed.image_id
    and images.accepted is not null;


-- name: insert_label_changes
-- The history of the relation reviewed; the file it came from is one of the values, and its hash.
insert into label_changes (
    image_id, sha256, old_label, new_label, old_accepted, review, reviewed_at, source, source_sha256
)
select
    reviewed.image_id,
    reviewed.sha256,
    reviewed.old_label,
    reviewed.new_label,
    images.accepted,
    reviewed.review,
    reviewed.reviewed_at,
    $source,
    $source_sha256,
from reviewed
inner join images on reviewed.image_id = images.image_id;


-- name: count_copies_unlike
-- Other images of the data set that have the bytes of a relabeled one (relation reviewed) and another label; one pair.
select
    count(*) as n,
    arg_min(copies.uri, copies.image_id) as uri,
    arg_min(images.uri, copies.image_id) as other_uri,
from reviewed
inner join images on reviewed.image_id = images.image_id
inner join images as copies
    on images.dataset = copies.dataset
    and images.sha256 = copies.sha256
    and images.image_id <> copies.image_id
    and images.label is distinct from copies.label;


-- name: list_runs_of_old_labels
-- Runs of relabeled images (relation reviewed) whose making has read labels: a stopping rule, a fitted temperature.
select distinct runs.run
from runs
where (runs.sample is not null or list_any_value(json_extract_string(runs.members, '$[*].fit_on')) is not null)
    and runs.dataset in (
        select images.dataset
        from images
        inner join reviewed on images.image_id = reviewed.image_id
    )
order by runs.run;


-- name: list_keeping_reviews
-- Scanned entries whose image has a reviewed label (or answers) that differs from the scanned one. Value: the data set.
select scanned.uri
from scanned
inner join images on scanned.uri = images.uri and scanned.sha256 = images.sha256
inner join label_history on images.image_id = label_history.image_id
where images.dataset = ?
    and scanned.message is null
    and label_history.is_current
    and (
        images.label is distinct from coalesce(scanned.label, images.label)
        or images.accepted is distinct from coalesce(scanned.accepted, images.accepted)
    );
