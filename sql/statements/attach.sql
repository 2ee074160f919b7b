-- Open the evaluation file, so that DuckDB 1.5 can read it and threads can share its tables.
-- Grain: no rows.
-- Parameters: path, alias, read_only, new
-- Edges: a path already attached to this instance stays as it is.
-- Source: storage figures measured with 100k rows of 1512 floats
attach if not exists {{ literal(path) }} as {{ ident(alias) }}
({% if read_only %}read_only{% else %}{% if new %}storage_version 'v1.5.0', {% endif %}row_group_size 16384{% endif %});
