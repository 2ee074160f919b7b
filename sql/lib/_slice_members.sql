-- The slice that each image is in by each of the given columns; numbers are cut into quantiles.
-- Grain: one row per run and image with a label and a prediction; cells and codes are lists, one entry per column.
-- Parameters: rel, cols (names of columns), bins (ranges to cut a number into, at least 2)
-- Edges: integers are cut if they span over 50; NULL, NaN, infinity and a number that fills a range are own slices.
-- Source: definition
create or replace macro _slice_members(rel, cols, bins) as table
with _columns as (
    select
        struct_pack(
            run := run, image_id := image_id, confidence := confidence, is_wrong := not _correct(label, pred)
        ) as _image,
        columns(cols),
    from _images(rel)
    where label is not null and pred is not null
),

_values as (
    select
        _image,
        struct_pack(
            is_float := regexp_matches(typeof(columns(* exclude (_image))), '^(FLOAT|DOUBLE|DECIMAL.*)$'),
            number := _finite_number(columns(* exclude (_image))),
            text := case
                when typeof(columns(* exclude (_image))) not in ('FLOAT', 'DOUBLE')
                    or _finite_number(columns(* exclude (_image))) is null
                    then columns(* exclude (_image))::varchar
            end
        ),
    from _columns
),

_cuts as (
    select _image.run as _run, row(
        any_value(alias(columns(* exclude (_image)))),
        case
            when any_value(struct_extract(columns(* exclude (_image)), 'is_float'))
                or max(struct_extract(columns(* exclude (_image)), 'number'))
                - min(struct_extract(columns(* exclude (_image)), 'number')) > 50
                then quantile_cont(
                    struct_extract(columns(* exclude (_image)), 'number'),
                    list_transform(range(1, greatest(bins, 2)), lambda _i: _i / greatest(bins, 2))
                )
        end
    ),
    from _values
    group by _image.run
),

-- In the order of cols, so that pairs have the same names as in slice_pairs.
_features as (
    select
        _run,
        features,
        list_grade_up(list_transform(
            features, lambda _f: list_position(list_transform(cols, lambda _c: lower(_c)), lower(_f[1]))
        )) as positions,
    from (select _run, list_value(*columns(* exclude (_run))) as features from _cuts) as _listed
),

_zipped as (
    select _image,
        list_select(list_zip(list_value(*columns(_values.* exclude (_image))), features), positions) as zipped,
    from _values
    inner join _features on _values._image.run = _features._run
),

_members as (
    select
        _image,
        list_transform(zipped, lambda _z: struct_pack(
            feature := _z[2][1],
            number := case when _z[2][2] is not null then _z[1].number end,
            text := case when _z[2][2] is null or _z[1].number is null then _z[1].text end,
            n_below := case
                when _z[1].number is not null then len(list_filter(_z[2][2], lambda _cut: _cut <= _z[1].number))
            end,
            n_here := len(list_filter(_z[2][2], lambda _cut: _cut = _z[1].number))
        )) as cells,
    from _zipped
)

select
    _image.image_id, _image.confidence, _image.is_wrong, cells,
    list_transform(cells, lambda _c: hash(_c.feature, _c.text, _c.n_below, _c.n_here > 1)) as codes,
    _image.run as run, -- noqa: AL09
from _members;
