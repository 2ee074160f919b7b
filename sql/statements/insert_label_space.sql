-- Write the size of a label space.
-- Grain: one row inserted.
-- Parameters: 1 space, 2 number of classes
-- Edges: none
-- Source: this project
insert into label_spaces (space, n_classes)
values (?, ?);
