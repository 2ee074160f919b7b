-- Forget the size of a label space, before it is written anew.
-- Grain: one row deleted.
-- Parameters: 1 space
-- Edges: none
-- Source: this project
delete from label_spaces
where space = ?;
