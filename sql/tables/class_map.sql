-- Which outputs of a model count as which class of the data set, for every mapped run.
-- Grain: one row per run and mapped output.
-- Parameters: none
-- Edges: an output without a row is outside the data set; several outputs may share a class.
-- Source: this project
create table if not exists class_map (
    run varchar not null,
    from_class integer not null,
    to_class integer not null
);
