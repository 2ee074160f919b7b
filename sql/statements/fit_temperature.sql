-- Fit a temperature on the images of a run that a condition selects.
-- Grain: one row.
-- Parameters: run, where
-- Edges: those of the macro temperature.
-- Source: this project
with _fitted as ( -- noqa: ST03
    select *
    from {{ ident(run) }}
    where (
        {{ where or 'true' }}
    )
)

select
    n,
    temperature,
from temperature('_fitted');
