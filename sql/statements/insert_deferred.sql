-- Keep the definition of a deferred column.
-- Grain: one row inserted.
-- Parameters: 1 name, 2 of, 3 type, 4 source
-- Edges: none
-- Source: this project
insert into deferred_columns (name, of, type, source)
values (?, ?, ?, ?);
