-- Forget a deferred column, before it is defined anew.
-- Grain: one row deleted.
-- Parameters: 1 name
-- Edges: none
-- Source: this project
delete from deferred_columns
where name = ?;
