-- Lists of classes that labels and predictions refer to.
-- Grain: one row per label space.
-- Parameters: none
-- Edges: classes are added, or named instead of numbered, only while no run uses the label space.
-- Source: this project
create table if not exists label_spaces (
    label_space varchar not null,
    n_classes integer not null
);
