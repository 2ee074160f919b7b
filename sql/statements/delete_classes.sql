-- Forget the classes of a label space, before they are written anew.
-- Grain: one row deleted per class.
-- Parameters: 1 space
-- Edges: none
-- Source: this project
delete from classes
where space = ?;
