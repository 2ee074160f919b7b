-- Images and mistakes of every combination of values of the given columns.
-- Grain: one row per run, combination and column.
-- Parameters: rel, cols (names of columns)
-- Edges: NULL label or pred is left out; below 0 is wrong; values are text, NULL is a value; position is that in cols.
-- Source: definition
create or replace macro _slice_cells(rel, cols) as table
with _cells as (
    select
        run as _run,
        columns(cols),
        count(*) as _n,
        count(*) filter (where not _correct(label, pred)) as _n_wrong,
    from _images(rel)
    where label is not null
        and pred is not null
    group by all
),

_texts as (
    select
        row_number() over () as _cell,
        _run,
        _n,
        _n_wrong,
        columns(cols)::varchar,
    from _cells
),

_long as (
    from _texts
    unpivot include nulls (value for feature in (columns(* exclude (_cell, _run, _n, _n_wrong))))
)

select
    _cell as cell,
    list_position(list_transform(cols, lambda _c: lower(_c)), lower(feature)) as position,
    feature,
    value,
    _n as n,
    _n_wrong as n_wrong,
    _run as run,
from _long;
