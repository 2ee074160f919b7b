-- No more images of the run failed than allowed: a share of its images when the bound is below 1, else a count.
-- Grain: one row, a violation unless violated is false.
-- Parameters: $run, $max_errors
-- Edges: a relation that is not a run is a violation, because its errors were not counted.
-- Source: table runs
with _run as (
    select
        sum(n_images) as n_images,
        sum(n_errors) as n_errors,
    from runs
    where run = $run
)

select
    n_images,
    n_errors,
    case when $max_errors < 1 then n_errors / nullif(n_images, 0) else n_errors end > $max_errors as violated,
    coalesce(
        format('{:,} of {:,} images failed, {:g} allowed', n_errors, n_images, $max_errors::double),
        'no run of that name, so no errors were counted'
    ) as message,
from _run;
