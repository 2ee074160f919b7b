-- Write down what made this file.
-- Grain: one row inserted.
-- Parameters: 1 version, 2 catalogue digest, 3 package version
-- Edges: none
-- Source: this project
insert into schema_version (version, catalogue, package)
values (?, ?, ?);
