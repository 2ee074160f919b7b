-- The job of a run, in temporary objects: the view _selected is the images that were asked for; _chosen holds the ids of
-- a condition, and ranks; _pending those of a window of ids without an output or error for their present bytes.
-- The relation block_images has the images of one block, block_answers what the function returned for them.

-- name: forget_selected
-- The selection of an earlier call, and with it what the view reads.
drop view if exists temp._selected;


-- name: forget_chosen
-- The ids of an earlier call.
drop table if exists temp._chosen;


-- name: create_chosen
-- The images that a condition selects, evaluated once per run: a condition may change from call to call.
create temp table _chosen as
select
    images.image_id,
    null::bigint as rank,
from images
where images.dataset = $dataset
    and (
        {{ where }}
    );


-- name: create_selected
-- The images that are selected. Their rank is that of rank_selected.
create or replace temp view _selected as
select
    images.image_id,
    images.sha256,
    images.n_bytes,
    {{ '_chosen.rank' if is_chosen else 'null::bigint as rank' }},
from images
{% if is_chosen %}
inner join _chosen on images.image_id = _chosen.image_id
{% endif %}
where images.dataset = {{ literal(dataset) }}
    and images.image_id <= {{ last or 0 }};


-- name: read_selected_ends
-- The first and the last id that is selected.
select
    min(image_id) as first_id,
    max(image_id) as last_id,
from _selected;


-- name: read_threads
-- How many threads a query has.
select current_setting('threads')::integer as n;


-- name: count_selected
-- How many images are selected.
select count(*) as n
from _selected;


-- name: rank_selected
-- Give the images that count in a comparison or an accuracy their rank in a random order; the others have none.
-- It depends on the seed and image_id alone, so another process draws in the same order: $seed.
create or replace temp table _chosen as
with _counted as (
    select
        images.image_id,
        md5($seed || ' ' || images.image_id) as draw,
    from images
    where images.label is not null
        and images.image_id in (select asked.image_id from _selected as asked)
{% if baseline %}
        and images.image_id in (
            select answered.image_id from {{ ident(baseline) }} as answered where answered.pred is not null
        )
{% endif %}
)

select
    _selected.image_id,
    _ranked.rank,
from _selected
left join (
    select
        _counted.image_id,
        row_number() over (order by _counted.draw, _counted.image_id) as rank,
    from _counted
) as _ranked on _selected.image_id = _ranked.image_id;


-- name: count_ranked
-- How many selected images have a rank.
select count(rank) as n
from _selected;


-- name: count_drawn
-- How many selected images have a rank, and the largest rank that a run has answered.
select
    count(_selected.rank) as n,
    coalesce(max(_selected.rank) filter (
        where _selected.image_id in (select done.image_id from outputs.{{ ident(run) }} as done)
            or _selected.image_id in (select errors.image_id from errors where errors.run = {{ literal(run) }})
    ), 0) as n_answered,
from _selected;


-- name: read_drawn_answers
-- Of the first $n_drawn images in the random order: how many a run has answered, and how many of them right.
select
    count(*) as n,
    count(*) filter (where answered.correct) as n_right,
from {{ ident(run) }} as answered
inner join _selected on answered.image_id = _selected.image_id
where answered.correct is not null
    and _selected.rank <= $n_drawn;


-- name: read_drawn_pairs
-- Of the first $n_drawn images in the random order: how many both runs have answered, and which only one has right.
select
    count(*) as n,
    count(*) filter (where pairs.correct_run and not pairs.correct_baseline) as run_only,
    count(*) filter (where pairs.correct_baseline and not pairs.correct_run) as baseline_only,
from paired({{ literal(run) }}, {{ literal(baseline) }}) as pairs
inner join _selected on pairs.image_id = _selected.image_id
where _selected.rank <= $n_drawn;


-- name: count_selected_splits
-- Selected images by split.
select
    images.split,
    count(*) as n,
from _selected
inner join images on _selected.image_id = images.image_id
group by images.split
order by images.split nulls last;


-- name: create_pending
-- Selected images from $first to $last without an output or error of the run; an image whose bytes changed since is
-- pending again. With is_sample, only the first $n_drawn in the random order.
create or replace temp table _pending as
select
    _selected.image_id,
    _selected.sha256,
    _selected.n_bytes,
    _selected.rank,
from _selected
anti join (
    select done.image_id, done.sha256
    from outputs.{{ ident(run) }} as done
    where done.image_id between $first and $last
) as done
    on _selected.image_id = done.image_id and _selected.sha256 = done.sha256
anti join (select errors.image_id, errors.sha256 from errors where errors.run = {{ literal(run) }}) as failed
    on _selected.image_id = failed.image_id and _selected.sha256 = failed.sha256
where _selected.image_id between $first and $last
{% if is_sample %}
    and _selected.rank <= $n_drawn
{% endif %};


-- name: count_pending
-- How many images are pending in a window.
select count(*) as n
from _pending;


-- name: preflight
-- What a run would find: images selected, pending, distinct, labeled and unreadable, and the number of classes.
with _pending as (
    select _selected.image_id
    from _selected
{% if exists %}
    anti join outputs.{{ ident(run) }} as done
        on _selected.image_id = done.image_id and _selected.sha256 = done.sha256
    anti join (select errors.image_id, errors.sha256 from errors where errors.run = {{ literal(run) }}) as failed
        on _selected.image_id = failed.image_id and _selected.sha256 = failed.sha256
{% endif %}
)

select
    (select count(*) from _selected) as n_images,
    (select count(*) from _pending) as n_pending,
    (select count(distinct _selected.sha256) from _selected) as n_distinct,
    (
        select count(images.label)
        from images
        semi join _selected on images.image_id = _selected.image_id
    ) as n_labeled,
    (select count(*) from classes where classes.label_space = $label_space) as n_classes,
    (select count(*) from errors where errors.run is null and errors.dataset = $dataset) as n_unreadable;


-- name: read_first_images
-- Some selected images with the columns that a function takes, to try it on.
select
    image_files.image,
    struct_pack({% for name in inputs %}{{ ident(name) }} := images.{{ ident(name) }}{{ ', ' if not loop.last }}{% else %}nothing := null{% endfor %}) as given,
from images
inner join image_files on images.image_id = image_files.image_id
where images.image_id in (
    select _selected.image_id
    from _selected
    order by _selected.image_id
    limit ? offset ?
)
order by images.image_id;


-- name: list_picture_sizes
-- Sizes of the images of the file in pixels; two tell that they differ.
select distinct
    width_px,
    height_px,
from images
where width_px is not null
order by
    width_px,
    height_px
limit 2;


-- name: read_any_images
-- Some images of the file, to see their size.
select image_files.image
from image_files
order by image_files.image_id
limit ?;


-- name: list_representatives
-- Pending images to compute, by rank where they have one, and their stored bytes: one per content (shared), or all.
-- Where a file of a content could not be read, all others of this content: any of them may be readable.
select
    min(_pending.image_id) as image_id,
    any_value(case when image_bytes.image_id is null then 0 else _pending.n_bytes end) as n_bytes,
from _pending
left join image_bytes on _pending.image_id = image_bytes.image_id
{% if shared %}
group by
    _pending.sha256,
    case
        when _pending.sha256 in (
            select failed.sha256 from errors as failed where failed.run = {{ literal(run) }} and failed.stage = 'read'
        ) then _pending.image_id
    end
{% else %}
group by _pending.image_id
{% endif %}
order by min(_pending.rank), min(_pending.image_id);


-- name: delete_stale_outputs
-- Delete outputs of pending images: they were for other bytes.
delete from outputs.{{ ident(run) }}
where image_id in (select _pending.image_id from _pending);


-- name: delete_stale_errors
-- Delete errors of a run about pending images: they were for other bytes.
delete from errors
where run = {{ literal(run) }}
    and image_id in (select _pending.image_id from _pending);


-- name: delete_selected_errors
-- Delete errors of a run about the selected images, to try them again.
delete from errors
where run = {{ literal(run) }}
    and image_id in (select _selected.image_id from _selected);


-- name: copy_outputs
-- Copy outputs to pending images from an image with the same bytes, so that nothing is computed twice.
insert into outputs.{{ ident(run) }} (
    image_id,
    sha256{% for name in names %},
    {{ ident(name) }}{% endfor %}

)
with _by_bytes as (
    select
        sha256,
{% for name in names %}
        any_value({{ ident(name) }}) as {{ ident(name) }},
{% endfor %}
    from outputs.{{ ident(run) }}
    where sha256 in (select _pending.sha256 from _pending)
    group by sha256
)

select
    _pending.image_id,
    _pending.sha256,
{% for name in names %}
    _by_bytes.{{ ident(name) }},
{% endfor %}
from _pending
inner join _by_bytes on _pending.sha256 = _by_bytes.sha256;


-- name: copy_errors
-- Copy errors to pending images from an image with the same bytes.
-- Errors of reading a file are not copied: another file with these bytes may be readable.
insert into errors (run, dataset, image_id, uri, sha256, stage, error, message)
select
    failed.run,
    failed.dataset,
    _pending.image_id,
    images.uri,
    _pending.sha256,
    failed.stage,
    failed.error,
    failed.message,
from _pending
inner join images on _pending.image_id = images.image_id
inner join (
    select
        errors.run,
        errors.dataset,
        errors.sha256,
        any_value(errors.stage) as stage,
        any_value(errors.error) as error,
        any_value(errors.message) as message,
    from errors
    where errors.run = {{ literal(run) }}
        and errors.stage <> 'read'
    group by errors.run, errors.dataset, errors.sha256
) as failed on _pending.sha256 = failed.sha256;


-- name: read_block
-- The images of one block (relation block_ids), and what a function takes of them.
select
    images.image_id,
    images.dataset,
    images.uri,
    images.sha256,
    image_files.image,
{% if inputs %}
    struct_pack({% for name in inputs %}{{ ident(name) }} := images.{{ ident(name) }}{{ ', ' if not loop.last }}{% endfor %}) as given,
{% endif %}
from image_files
inner join images on image_files.image_id = images.image_id
where images.image_id in (select block_ids.image_id from block_ids);


-- name: read_answers
-- Call the function once per image of one block.
select
    image_id,
    dataset,
    uri,
    sha256,
    {{ ident(function) }}(image{% if inputs %}, given{% endif %}) as answer,
from block_images;


-- name: insert_outputs
-- Store the answers of a block that have no error and were computed from the bytes that were added.
insert into outputs.{{ ident(run) }} (
    image_id,
    sha256{% for name in names %},
    {{ ident(name) }}{% endfor %}

)
select
    image_id,
    sha256,
{% for name in names %}
    answer.{{ ident(name) }},
{% endfor %}
from block_answers
where answer.error is null
    and answer.sha256 = sha256;


-- name: insert_run_errors
-- Store the errors of a block; bytes that are not those that were added are an error of stage read.
insert into errors (run, dataset, image_id, uri, sha256, stage, error, message)
select
    ? as run,
    dataset,
    image_id,
    uri,
    sha256,
    coalesce(answer.error.stage, 'read') as stage,
    coalesce(answer.error.error, 'ChangedImage') as error,
    coalesce(answer.error.message, 'the file has other bytes than when it was added; add the images again') as message,
from block_answers
where answer.error is not null
    or answer.sha256 <> sha256;


-- name: read_first_failure
-- The first image of a block that failed.
select
    image_id,
    uri,
    coalesce(answer.error.stage, 'read') as stage,
    coalesce(answer.error.error, 'ChangedImage') as error,
    coalesce(answer.error.message, 'the file has other bytes than when it was added; add the images again') as message,
from block_answers
where answer.error is not null
    or answer.sha256 <> sha256
order by image_id
limit 1;


-- name: read_commonest_failure
-- The commonest reason for which selected images have failed, how many, and the first of them.
select
    stage,
    error,
    message,
    count(*) as n,
    arg_min(uri, image_id) as uri,
from errors
where run = {{ literal(run) }}
    and image_id in (select _selected.image_id from _selected)
group by stage, error, message
order by n desc, min(image_id)
limit 1;


-- name: count_answered
-- How many images were asked for, how many of them have an output of the run, and how many an error.
-- Asked for are the selected images, with is_sample the first $n_drawn in the random order.
with _asked as (
    select _selected.image_id
    from _selected
{% if is_sample %}
    where _selected.rank <= $n_drawn
{% endif %}
)

select
    (select count(*) from _asked) as n_images,
    (
        select count(*)
        from _asked
        semi join outputs.{{ ident(run) }} as done on _asked.image_id = done.image_id
    ) as n_ok,
    (
        select count(*)
        from _asked
        semi join (select errors.image_id from errors where errors.run = {{ literal(run) }}) as failed
            on _asked.image_id = failed.image_id
    ) as n_errors;
