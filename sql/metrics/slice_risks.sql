-- Exact tests of slices and pairs of slices: is it worse than the rest, and a pair worse than either of its parts.
-- Grain: one row per slice, and per pair of slices, of at least min_n images.
-- Parameters: rel (a relation like slice_members), min_n
-- Edges: p_value is 1 where a slice is no worse, NULL for one of everything; value holds the text and the codes.
-- Source: Fisher's exact test, one-sided; a pair has the largest p-value of its three tests
create or replace macro slice_risks(rel, min_n) as table
with _images as (
    select is_wrong, cells, codes from query_table(rel)
),

_cells as (
    select is_wrong, unnest(cells) as cell, unnest(codes) as code from _images
),

_all as (
    select struct_pack(n := count(*), errors := count(*) filter (where is_wrong)) as whole from _images
),

_singles as materialized (
    select
        code,
        any_value(cell.feature) as feature,
        coalesce(any_value(cell.text), number_range(min(cell.number), max(cell.number))) as value,
        struct_pack(n := count(*), errors := count(*) filter (where is_wrong)) as part,
    from _cells
    group by code
    having count(*) >= min_n
),

_firsts as (
    select is_wrong, codes, unnest(codes) as code_a, unnest(range(2, len(codes) + 2)) as next_place from _images
),

_seconds as (
    select is_wrong, code_a, unnest(codes[next_place:]) as code_b from _firsts
),

_pairs as (
    select
        code_a,
        code_b,
        struct_pack(n := count(*), errors := count(*) filter (where is_wrong)) as part,
    from _seconds
    group by code_a, code_b
    having count(*) >= min_n
),

_slices as (
    select feature, value, code as code_a, code as code_b, part, [whole] as wholes
    from _singles
    cross join _all
    union all
    select
        _a.feature || ' × ' || _b.feature as feature,
        coalesce(_a.value, 'NULL') || ' × ' || coalesce(_b.value, 'NULL') as value,
        _pairs.code_a,
        _pairs.code_b,
        _pairs.part,
        [_all.whole, _a.part, _b.part] as wholes,
    from _pairs
    inner join _singles as _a on _pairs.code_a = _a.code
    inner join _singles as _b on _pairs.code_b = _b.code
    cross join _all
)

select
    feature,
    struct_pack(text := value, code_a := code_a, code_b := code_b) as value,
    part.n,
    part.errors,
    wholes[1].errors / wholes[1].n as base_rate,
    two_proportion_z(part.errors, part.n, wholes[1].errors - part.errors, wholes[1].n - part.n) as z,
    case
        when z <= 0 then 1e0
        when z > 0 then list_max(list_transform(
            wholes, lambda _w: fisher_greater(part.errors, part.n, _w.errors - part.errors, _w.n - part.n)
        ))
    end as p_value,
from _slices;
