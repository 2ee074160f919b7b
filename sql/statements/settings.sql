-- Settings of every connection: nothing is fetched, no Python variable is a table, DuckDB draws no progress bar.
-- Grain: no rows.
-- Parameters: none
-- Edges: applies to the whole process-wide instance of one file.
-- Source: this project
set python_enable_replacements = false;
set autoinstall_known_extensions = false;
set autoload_known_extensions = false;
set enable_progress_bar = false;
