-- Write how a clustering was made.
-- Grain: one row inserted.
-- Parameters: 1 run, 2 clustering, 3 method, 4 params, 5 seed
-- Edges: none
-- Source: this project
insert into cluster_specs (run, clustering, method, params, seed)
values (?, ?, ?, ?, ?);
