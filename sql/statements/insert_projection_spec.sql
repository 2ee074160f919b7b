-- Write how a projection was made.
-- Grain: one row inserted.
-- Parameters: 1 run, 2 projection, 3 method, 4 params, 5 seed
-- Edges: none
-- Source: this project
insert into projection_specs (run, projection, method, params, seed)
values (?, ?, ?, ?, ?);
