-- Parquet files with encoded pictures in a column, measured before anything of them is read
-- (sqlanalysis/data/sources/huggingface.py): a dictionary of one value can stand for gigabytes.

-- name: measure_pictures
-- How many bytes each picture has, in the order of the rows; cheap where one value stands in many rows.
select octet_length({{ ident(column) }}{{ '.bytes' if is_struct }})::integer as n_bytes
from read_parquet({{ literal(file) }}, hive_partitioning = false);


-- name: measure_texts
-- Bytes of text and other values beside the picture: of the largest row, and of all.
with sizes as (
    select
        0
        {% for name in texts %}
        + coalesce(strlen({{ ident(name) }}), 0)
        {% endfor %}
        {% for name in structs %}
        + coalesce(strlen({{ ident(name) }}.path), 0)
        {% endfor %}
        as n
    from read_parquet({{ literal(file) }}, hive_partitioning = false)
)

select
    coalesce(max(n), 0)::bigint as largest,
    coalesce(sum(n), 0)::bigint as total
from sizes;


-- name: read_picture_paths
-- The file that each picture had when the shard was written.
select {{ ident(column) }}.path::varchar as path
from read_parquet({{ literal(file) }}, hive_partitioning = false);
