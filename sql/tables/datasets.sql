-- Named sets of images, each with its label space.
-- Grain: one row per data set.
-- Parameters: none
-- Edges: label_space is NULL while no image has a label.
-- Source: this project
create table if not exists datasets (
    dataset varchar not null,
    label_space varchar,
    source varchar,
    created_at timestamp not null default (current_timestamp at time zone 'UTC')
);
