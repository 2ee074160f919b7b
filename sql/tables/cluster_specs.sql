-- How each clustering was made.
-- Grain: one row per run and clustering.
-- Parameters: none
-- Edges: the newest one of a run gives the column cluster of its view.
-- Source: this project
create table if not exists cluster_specs (
    run varchar not null,
    clustering varchar not null,
    method varchar not null,
    params json,
    seed bigint,
    created_at timestamp not null default (current_timestamp at time zone 'UTC')
);
