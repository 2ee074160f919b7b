-- Add classes to a label space.
-- Grain: one row per class of the relation added_classes.
-- Parameters: 1 space
-- Edges: none
-- Source: this project
insert into classes (space, class, name, extra)
select
    ? as space,
    class,
    name,
    extra,
from added_classes;
