-- A page of one split: what hides all other images, in the session of the page alone; the file is not changed.

-- name: split_names
-- Splits of the images of a run.
select distinct split
from {{ ident(run) }}
where split is not null
order by split;


-- name: has_temporary
-- Whether this session has a view of its own in place of one of the file.
select count(*) > 0 as has_one
from duckdb_views()
where temporary
    and view_name = {{ literal(name) }};


-- name: keep_temporary
-- The view that this session has in place of one of the file, under another name.
alter view temp.main.{{ ident(name) }} rename to {{ ident(kept) }};


-- name: split_of_run
-- For the rest of this session the run is its images of one split.
create or replace temp view {{ ident(run) }} as
from {{ whole }}
where split = {{ literal(split) }};


-- name: split_of_errors
-- Errors of images of one split, and of files that became no image.
create or replace temp view errors as
from {{ whole }}
where image_id is null
    or image_id in (select image_id from images where split = {{ literal(split) }});


-- name: split_of_runs
-- The runs with their numbers of images of one split. Which of the images that a run has not done yet are of the split
-- is not stored: as many as there are without output or error, at most.
-- A table: DuckDB takes a view for recursive, since the views of runs read runs.
create or replace temp table runs as
with _done as (
{% for run, outputs in counted.items() %}
    select
        {{ literal(run) }} as run,
        count(*) as n_ok,
        0 as n_errors,
    from {{ outputs }} as outputs
    inner join images on outputs.image_id = images.image_id
    where images.split = {{ literal(split) }}
    union all
{% endfor %}
    select
        errors.run,
        0 as n_ok,
        count(*) as n_errors,
    from {{ whole_errors }} as errors
    inner join images on errors.image_id = images.image_id
    where images.split = {{ literal(split) }}
        and errors.run in ({% for run in counted %}{{ literal(run) }}{{ ', ' if not loop.last }}{% endfor %})
    group by errors.run
),

_sums as (
    select
        run,
        sum(n_ok)::bigint as n_ok,
        sum(n_errors)::bigint as n_errors,
    from _done
    group by run
),

_sizes as (
    select
        dataset,
        count(*) as n,
    from images
    where split = {{ literal(split) }}
    group by dataset
)

select
    runs.* replace (
        coalesce(
            _sums.n_ok + _sums.n_errors + greatest(
                0,
                least(
                    runs.n_images - runs.n_ok - runs.n_errors,
                    coalesce(_sizes.n, 0) - _sums.n_ok - _sums.n_errors
                )
            ),
            runs.n_images
        ) as n_images,
        coalesce(_sums.n_ok, runs.n_ok) as n_ok,
        coalesce(_sums.n_errors, runs.n_errors) as n_errors
    ),
from {{ whole_runs }} as runs
left join _sums on runs.run = _sums.run
left join _sizes on runs.dataset = _sizes.dataset;
