-- Images that could not be read or computed, with the error.
-- Grain: one row per image and run, or per entry of a source that was refused (run is NULL).
-- Parameters: none
-- Edges: stage is one of read, decode, transform, forward, worker, write; a file that is read later loses its row.
-- Source: this project
create table if not exists errors (
    run varchar,
    dataset varchar not null,
    image_id bigint,
    uri varchar,
    sha256 varchar,
    stage varchar not null,
    error varchar not null,
    message varchar not null,
    failed_at timestamp not null default (current_timestamp at time zone 'UTC')
);
