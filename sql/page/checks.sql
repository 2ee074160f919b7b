-- Checks of the data: rows that are inconsistent, copies, near duplicates, unreadable files.

-- name: run_check
-- Rows of the run that are inconsistent; without probs only the counts that need none.
{% if not probs %}
with answers as ( -- noqa: ST03
    select
        image_id,
        label,
        pred,
        confidence,
        null::float[] as probs,
    from {{ ident(run) }}
)

{% endif %}
select
    n,
    duplicate_images,
    no_label,
    no_prediction,
    outside_classes,
    no_confidence,
{% if probs %}
    no_probs,
    other_length,
    label_out_of_range,
    nan_probs,
    outside_0_1,
    sum_not_1,
    pred_not_argmax,
    confidence_differs,
{% endif %}
from check_run({{ literal(run if probs else 'answers') }});


-- name: database_problems
-- Inconsistencies in this file, by kind of problem, with an example of the object.
select
    problem,
    count(*) as n_objects,
    sum(n) as n,
    min(object) as example,
from check_database
group by problem
order by n desc, problem;


-- name: exact_copies
-- Images with the bytes of an image of the run, anywhere in its data set; copies counts those beyond the first.
select
    coalesce(sum(duplicates.n - 1), 0)::bigint as copies,
    count(*) as kinds,
    count(*) filter (where duplicates.splits_differ) as in_two_splits,
    count(*) filter (where duplicates.labels_differ) as with_two_labels,
from duplicates
inner join runs on duplicates.dataset = runs.dataset
semi join {{ ident(run) }} as images on duplicates.sha256 = images.sha256
where runs.run = {{ literal(run) }};


-- name: has_neighbors
-- How many images of a run have stored neighbors.
select count(distinct image_id) as n
from neighbors
where run = {{ literal(run) }}
    and embedding = 'activation';


-- name: accuracy_by_duplicates
-- The interval of accuracy if near duplicates are groups of images that depend on each other, and how many there are.
with _with_groups as ( -- noqa: ST03
    select
        image_id,
        label,
        pred,
        group_id,
    from _duplicate_members({{ literal(run) }}, {{ literal(run ~ '_neighbors') }})
),

_near as (
    select
        count(group_id) as n_near,
        count(distinct group_id) as n_groups,
    from _with_groups
    where label is not null
        and pred is not null
)

select
    accuracy.accuracy,
    accuracy.ci_low,
    accuracy.ci_high,
    _near.n_near,
    _near.n_groups,
from accuracy('_with_groups', groups := group_id) as accuracy
cross join _near;


-- name: near_pairs
-- Pairs of images that are nearly the same to the model (cosine distance), nearest first, at most $max_pairs.
-- One of the two at least is an image of the run; the other may be of a split that the page leaves out.
-- Equal bytes are left to exact_copies; n_found, n_leaks and n_labels count all pairs.
with _ids as (
    select image_id
    from {{ ident(run) }}
),

_pairs as (
    select
        near.image_a,
        near.image_b,
        near.distance,
        images_a.uri as uri_a,
        images_b.uri as uri_b,
        images_a.split as split_a,
        images_b.split as split_b,
        coalesce(names_a.name, images_a.label::varchar) as label_a,
        coalesce(names_b.name, images_b.label::varchar) as label_b,
        greatest(images_a.width_px, images_a.height_px, images_b.width_px, images_b.height_px) as size_px,
    from near_duplicates({{ literal(run ~ '_neighbors') }}) as near
    inner join images as images_a on near.image_a = images_a.image_id
    inner join images as images_b on near.image_b = images_b.image_id
    left join class_names as names_a on names_a.run = {{ literal(run) }} and images_a.label = names_a.class
    left join class_names as names_b on names_b.run = {{ literal(run) }} and images_b.label = names_b.class
    where images_a.sha256 <> images_b.sha256
        and (near.image_a in (from _ids) or near.image_b in (from _ids))
)

select
    image_a,
    image_b,
    distance,
    uri_a,
    uri_b,
    split_a,
    split_b,
    label_a,
    label_b,
    size_px,
    count(*) over () as n_found,
    count(*) filter (where split_a <> split_b) over () as n_leaks,
    count(*) filter (where label_a <> label_b) over () as n_labels,
from _pairs
order by split_a is not distinct from split_b, label_a is not distinct from label_b, distance, image_a, image_b
limit $max_pairs;


-- name: images_of_copies
-- The images with the same bytes as another or nearly the same, those in more than one split, and those with two labels.
-- As in exact_copies and near_pairs, one of them at least is of the run; n counts all, ids are those that the run has.
with _ids as (
    select
        image_id,
        sha256,
    from {{ ident(run) }}
),

_pairs as (
    select
        unnest(duplicates.image_ids) as image_id,
        duplicates.splits_differ,
        duplicates.labels_differ,
    from duplicates
    inner join runs on duplicates.dataset = runs.dataset
    semi join _ids on duplicates.sha256 = _ids.sha256
    where runs.run = {{ literal(run) }}
{% if neighbors %}
    union all
    select
        unnest([near.image_a, near.image_b]) as image_id,
        images_a.split <> images_b.split as splits_differ,
        images_a.label <> images_b.label as labels_differ,
    from near_duplicates({{ literal(run ~ '_neighbors') }}) as near
    inner join images as images_a on near.image_a = images_a.image_id
    inner join images as images_b on near.image_b = images_b.image_id
    where images_a.sha256 <> images_b.sha256
        and (near.image_a in (select image_id from _ids) or near.image_b in (select image_id from _ids))
{% endif %}
),

_copies as (
    select
        _pairs.image_id,
        _pairs.image_id in (select image_id from _ids) as is_of_run,
        coalesce(bool_or(_pairs.splits_differ), false) as splits_differ,
        coalesce(bool_or(_pairs.labels_differ), false) as labels_differ,
    from _pairs
    group by _pairs.image_id
)

select
    count(*) as n,
    count(*) filter (where splits_differ) as n_splits,
    count(*) filter (where labels_differ) as n_labels,
    list(image_id order by image_id) filter (where is_of_run) as ids,
    list(image_id order by image_id) filter (where is_of_run and splits_differ) as ids_splits,
    list(image_id order by image_id) filter (where is_of_run and labels_differ) as ids_labels,
from _copies;


-- name: unreadable
-- Files that could not be read or computed, by stage and error, with an example.
-- Errors of this run and of adding its data set; messages are not shown.
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
