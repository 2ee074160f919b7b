-- Which of the names called in a statement are no function of DuckDB or of this file.
-- Grain: one row per unknown name.
-- Parameters: 1 names
-- Edges: names of syntax that looks like a call, such as `in (` or `values (`, are keywords and do not count.
-- Source: this project
with _called as (
    select unnest(?::varchar []) as name
)

select name
from _called
where name not in (select function_name from duckdb_functions())
    and name not in (select keyword_name from duckdb_keywords())
    and name not in (select type_name from duckdb_types());
