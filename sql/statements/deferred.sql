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
