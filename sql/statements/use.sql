-- Make the evaluation file the current database.
-- Grain: no rows.
-- Parameters: alias
-- Edges: none
-- Source: this project
use {{ ident(alias) }};
