-- Parts of the outputs of a run: files that workers wrote, each committed once.
-- Grain: one row per committed part of a run.
-- Parameters: none
-- Edges: uri is NULL where the rows are in the file itself, else relative to FILE.parts, or absolute.
-- Source: this project
create table if not exists parts (
    run varchar not null,
    part varchar not null,
    uri varchar,
    first_id bigint not null,
    last_id bigint not null,
    n bigint not null,
    n_errors bigint not null,
    n_bytes bigint not null,
    sha256 varchar not null,
    committed_at timestamp not null default (current_timestamp at time zone 'UTC'),
    unique (run, part)
);
