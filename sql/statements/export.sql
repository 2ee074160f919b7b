-- What `export` reads of a run: its columns and rows in the form that a format holds, its images, its figures.

-- name: export_columns
-- Columns of the view of a run and their types, in order.
select
    column_name,
    data_type,
from duckdb_columns()
where database_name = current_database()
    and schema_name = 'main'
    and table_name = ?
order by column_index;


-- name: export_splits
-- Splits of the rows of a run, how many rows each has, and how many of those are on the map.
select
    split,
    count(*) as n,
    count(*) filter (where x is not null and y is not null) as n_on_map,
from {{ ident(run) }}
group by split
order by split nulls last;


-- name: export_rows
-- The rows of a run from one image_id to another, in order; of one split, or of the images on the map, if asked for.
-- columns pairs a name with its form: same, text, json and raw, or class (a 64-bit index, as Hugging Face keeps them).
-- The rows are sorted before a value becomes text, which is several times larger.
-- neighbors are named by the number of their row in this order, from 0, as Embedding Atlas reads them.
{% set forms = {'text': '::varchar', 'class': '::bigint'} %}
{% if neighbors %}
with _numbered as (
    select
        image_id,
        row_number() over (order by image_id) - 1 as row_index,
    from {{ ident(run) }}
    where x is not null
        and y is not null
),

_nearest as (
    select
        neighbors.image_id,
        struct_pack(
            ids := list(_numbered.row_index order by neighbors.rank),
            distances := list(neighbors.distance order by neighbors.rank)
        ) as neighbors,
    from neighbors
    inner join _numbered on neighbors.neighbor_id = _numbered.image_id
    where neighbors.run = {{ literal(run) }}
    group by neighbors.image_id
)

{% endif %}
select
{% for name, form in columns %}
{% if form in ('json', 'raw') %}
    to_json({{ ident(name) }})::varchar as {{ ident(name) }},
{% else %}
    {{ ident(name) }}{% if form in forms %}{{ forms[form] }} as {{ ident(name) }}{% endif %},
{% endif %}
{% endfor %}
{% if neighbors %}
    neighbors,
{% endif %}
from (
    select
        exported.*,
{% if neighbors %}
        coalesce(_nearest.neighbors, struct_pack(ids := []::bigint[], distances := []::double[])) as neighbors,
{% endif %}
    from {{ ident(run) }} as exported
{% if neighbors %}
    left join _nearest on exported.image_id = _nearest.image_id
{% endif %}
    where exported.image_id between {{ first }} and {{ last }}
{% if by_split %}
        and exported.split is not distinct from ?
{% elif on_map %}
        and exported.x is not null
        and exported.y is not null
{% endif %}
    order by exported.image_id
) as in_order
{% if neighbors %}
order by image_id
{% endif %};


-- name: export_ranges
-- First and last image_id of each so many rows of a run: sorted at once, wide rows would fill the memory.
with _numbered as (
    select
        image_id,
        (row_number() over (order by image_id) - 1) // {{ rows }} as block,
    from {{ ident(run) }}
)

select
    min(image_id) as first,
    max(image_id) as last,
from _numbered
group by block
order by block;


-- name: export_neighbors
-- How many images of a run were considered when its neighbors were found; no row if it has none.
select n_images + n_left_out as n
from neighbor_specs
where run = ?;


-- name: export_bytes
-- Stored bytes of the images asked for; an image that is kept by reference has no row.
select
    image_id,
    bytes,
from image_bytes
where image_id between list_min($ids::bigint []) and list_max($ids::bigint [])
    and image_id in (select unnest($ids::bigint []));


-- name: export_figures
-- Figures of one split of a run for a model card: those of accuracy and scores.
with _of_split as ( -- noqa: ST03
    select
        image_id,
        label,
        pred,
    from {{ ident(run) }}
    where split is not distinct from ?
)

select
    answers.n,
    answers.ci_low,
    answers.ci_high,
    answers.accuracy,
    averages.balanced_accuracy,
    averages.precision_macro,
    averages.recall_macro,
    averages.f1_macro,
    averages.f1_weighted,
    averages.mcc,
from accuracy('_of_split') as answers
cross join scores('_of_split') as averages;
