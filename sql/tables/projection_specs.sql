-- How each projection was made.
-- Grain: one row per run and projection.
-- Parameters: none
-- Edges: the newest one of a run gives x and y of its view.
-- Source: this project
create table if not exists projection_specs (
    run varchar not null,
    projection varchar not null,
    method varchar not null,
    params json,
    seed bigint,
    created_at timestamp not null default (current_timestamp at time zone 'UTC')
);
