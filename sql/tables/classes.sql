-- Classes of every label space: index, name, and what else is known (wnid; indexed, where the index was given).
-- Grain: one row per label space and class.
-- Parameters: none
-- Edges: class is 0-based and without gaps; name is unique in its label space.
-- Source: this project
create table if not exists classes (
    label_space varchar not null,
    class integer not null,
    name varchar not null,
    extra json
);
