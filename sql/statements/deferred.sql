-- Definitions of deferred columns.

-- name: insert_deferred
-- The definition of a deferred column.
insert into deferred_columns (name, of, type, source)
values (?, ?, ?, ?);


-- name: delete_deferred
-- Delete the definition of a deferred column before it is defined again.
delete from deferred_columns
where name = ?;


-- name: list_deferred
-- Deferred columns of this file, oldest first.
select
    name,
    of,
    type,
    source,
from deferred_columns
order by created_at, name;


-- name: list_deferred_types
-- Names and types of the deferred columns of this file.
select
    name,
    type,
from deferred_columns;


-- name: parse_query
-- The syntax tree of a query as JSON.
select json_serialize_sql({{ literal(text) }}) as tree;


-- name: first_rows
-- Rows of a relation (_shown) without the values of its deferred columns, which so are not computed.
select
{% for name in shown %}
    {{ 'null as ' if name in deferred }}{{ ident(name) }},
{% endfor %}
from _shown
limit {{ n }}; -- noqa: AM09
