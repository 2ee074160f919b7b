-- Write of which activations the neighbours of a run are.
-- Grain: one row inserted.
-- Parameters: 1 run, 2 space, 3 k, 4 n_images, 5 n_left_out, 6 digest
-- Edges: none
-- Source: this project
insert into neighbour_specs (run, space, k, n_images, n_left_out, digest)
values (?, ?, ?, ?, ?, ?);
