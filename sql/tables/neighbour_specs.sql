-- Of which activations the neighbours of each run are, so that none outlive them.
-- Grain: one row per run and space.
-- Parameters: none
-- Edges: n_left_out images have no activation, or a zero one; digest covers image_id and activations.
-- Source: this project
create table if not exists neighbour_specs (
    run varchar not null,
    space varchar not null,
    k integer not null,
    n_images bigint not null,
    n_left_out bigint not null,
    digest varchar not null,
    created_at timestamp not null default (current_timestamp at time zone 'UTC')
);
