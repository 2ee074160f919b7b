-- Where DuckDB puts what does not fit in memory: beside the file, as for a file that is opened directly.
-- Grain: no rows.
-- Parameters: folder
-- Edges: the folder is made when it is needed, and removed.
-- Source: DuckDB, setting temp_directory
set temp_directory = {{ literal(folder) }};
