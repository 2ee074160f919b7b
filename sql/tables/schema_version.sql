-- What made this file: version of the layout and of the installed catalogue.
-- Grain: one row.
-- Parameters: none
-- Edges: another version is refused, never converted silently.
-- Source: this project
create table if not exists schema_version (
    version integer not null,
    catalogue varchar not null,
    package varchar not null,
    created_at timestamp not null default (current_timestamp at time zone 'UTC')
);
