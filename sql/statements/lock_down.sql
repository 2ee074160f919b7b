-- Settings of a safe connection: no other file, no network, no extension, and no way back.
-- Grain: no rows.
-- Parameters: none
-- Edges: the file itself is open already; sent last, for nothing can be set afterwards.
-- Source: DuckDB, "Securing DuckDB"
set allowed_directories = [];
set allow_community_extensions = false;
set allow_persistent_secrets = false;
set enable_external_access = false;
set lock_configuration = true;
