-- Definitions of deferred columns, so that another process knows what to register.
-- Grain: one row per deferred column.
-- Parameters: none
-- Edges: the functions themselves belong to a connection, never in the file.
-- Source: this project
create table if not exists deferred_columns (
    name varchar not null,
    of varchar not null,
    type varchar not null,
    source varchar not null,
    created_at timestamp not null default (current_timestamp at time zone 'UTC')
);
