-- Give a data set its label space.
-- Grain: one row updated.
-- Parameters: 1 space, 2 data set
-- Edges: a data set that has one keeps it.
-- Source: this project
update datasets
set space = ?
where dataset = ?
    and space is null;
