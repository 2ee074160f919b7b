-- Tables of images and predictions from outside, on a connection of their own (sqlanalysis/data/sources/table.py).
-- Text stays text: `01` and `true` keep what they say.

-- name: read_csv_source
-- Every column as text; delimiter, quotes and line ends are found by DuckDB, the first line names the columns.
-- Its parallel reader takes no line breaks in quotes beside null_padding.
select columns(*)
from read_csv(
    [{% for file in files %}{{ literal(file) }}{{ ', ' if not loop.last }}{% endfor %}],
    all_varchar = true,
    header = true,
    encoding = {{ literal(encoding) }},
    union_by_name = true,
    null_padding = true,
    parallel = false,
    max_line_size = {{ max_line }}
);


-- name: read_json_source
-- JSON lines, or arrays of objects: one row an object, as it is written.
select json::varchar as row
from read_json_objects(
    [{% for file in files %}{{ literal(file) }}{{ ', ' if not loop.last }}{% endfor %}],
    format = 'auto',
    maximum_object_size = 67108864
);


-- name: read_parquet_source
-- Some columns of Parquet files, or all of them; of pictures only their path.
select
{% for name in names %}
    {{ ident(name) }}{% if name in pictures %}.path as {{ ident(name) }}{% endif %},
{% else %}
    columns(*)
{% endfor %}

from read_parquet(
    [{% for file in files %}{{ literal(file) }}{{ ', ' if not loop.last }}{% endfor %}],
    union_by_name = true
);


-- name: measure_parquet_source
-- Bytes of text, and about those of lists of numbers, in columns of Parquet files.
select
    coalesce(sum(
        0
        {% for name in texts %}
        + coalesce(strlen({{ ident(name) }}), 0)
        {% endfor %}
        {% for name in blobs %}
        + coalesce(octet_length({{ ident(name) }}), 0)
        {% endfor %}
        {% for name in nested %}
        + coalesce(strlen({{ ident(name) }}::varchar), 0)
        {% endfor %}
        {% for name in pictures %}
        + coalesce(strlen({{ ident(name) }}.path), 0)
        {% endfor %}
        {% for name in lists %}
        + 8 * coalesce(len({{ ident(name) }}), 0)
        {% endfor %}
    ), 0)::bigint as n_bytes
from read_parquet(
    [{% for file in files %}{{ literal(file) }}{{ ', ' if not loop.last }}{% endfor %}],
    union_by_name = true
);


-- name: count_parquet_rows
-- How many rows Parquet files say that they have, from their footers alone.
select coalesce(sum(num_rows), 0)::bigint as n
from parquet_file_metadata([{% for file in files %}{{ literal(file) }}{{ ', ' if not loop.last }}{% endfor %}]);
