-- Add a data set.
-- Grain: one row inserted.
-- Parameters: 1 data set, 2 space, 3 source
-- Edges: none
-- Source: this project
insert into datasets (dataset, space, source)
values (?, ?, ?);
