-- Begin a transaction that cannot write.
-- Grain: no rows.
-- Parameters: none
-- Edges: an insert or delete inside a WITH is refused too.
-- Source: this project
begin transaction read only;
