-- Which activations the neighbors of each run were computed from, so that neighbors are never out of date.
-- Grain: one row per run and embedding.
-- Parameters: none
-- Edges: n_left_out images have no activation, or a zero one; digest covers image_id and activations.
-- Source: this project
create table if not exists neighbor_specs (
    run varchar not null,
    embedding varchar not null,
    k integer not null,
    n_images bigint not null,
    n_left_out bigint not null,
    digest varchar not null,
    created_at timestamp not null default (current_timestamp at time zone 'UTC')
);
