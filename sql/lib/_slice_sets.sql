-- Slices and pairs of slices, from the slices that each image is in; worst_slices tests them.
-- Grain: one row per run and slice, and per run and pair of slices, of at least min_n images.
-- Parameters: rel (a relation like _slice_members), min_n
-- Edges: value holds the text and the codes; wholes as in _slice_p: all images, for a pair both of its parts too.
-- Source: definition
create or replace macro _slice_sets(rel, min_n) as table
with _images as (
    select run, is_wrong, cells, codes from query_table(rel)
),

_cells as (
    select run, is_wrong, unnest(cells) as cell, unnest(codes) as code from _images
),

_all as (
    select
        run,
        struct_pack(n := count(*), n_wrong := count(*) filter (where is_wrong)) as whole,
    from _images
    group by run
),

_singles as materialized (
    select
        run,
        code,
        any_value(cell.feature) as feature,
        coalesce(any_value(cell.text), _number_range(min(cell.number), max(cell.number))) as value,
        struct_pack(n := count(*), n_wrong := count(*) filter (where is_wrong)) as part,
    from _cells
    group by run, code
    having count(*) >= min_n
),

_firsts as (
    select run, is_wrong, codes, unnest(codes) as code_a, unnest(range(2, len(codes) + 2)) as next_index from _images
),

_seconds as (
    select run, is_wrong, code_a, unnest(codes[next_index:]) as code_b from _firsts
),

_pairs as (
    select
        run,
        code_a,
        code_b,
        struct_pack(n := count(*), n_wrong := count(*) filter (where is_wrong)) as part,
    from _seconds
    group by run, code_a, code_b
    having count(*) >= min_n
)

select
    _singles.run,
    _singles.feature,
    struct_pack(text := _singles.value, code_a := _singles.code, code_b := _singles.code) as value,
    _singles.part.n,
    _singles.part.n_wrong,
    [_all.whole] as wholes,
from _singles
inner join _all on _singles.run = _all.run
union all
select
    _pairs.run,
    _a.feature || ' × ' || _b.feature as feature,
    struct_pack(
        text := coalesce(_a.value, 'NULL') || ' × ' || coalesce(_b.value, 'NULL'),
        code_a := _pairs.code_a,
        code_b := _pairs.code_b
    ) as value,
    _pairs.part.n,
    _pairs.part.n_wrong,
    [_all.whole, _a.part, _b.part] as wholes,
from _pairs
inner join _singles as _a on _pairs.run = _a.run and _pairs.code_a = _a.code
inner join _singles as _b on _pairs.run = _b.run and _pairs.code_b = _b.code
inner join _all on _pairs.run = _all.run;
