-- Version of the schema and digest of the installed views and macros.
-- Grain: one row.
-- Parameters: none
-- Edges: none
-- Source: this project
select
    version,
    catalogue,
from schema_version;
