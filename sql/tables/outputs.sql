-- Schema that holds the outputs of each run: a table, or a view over parts or over other runs.
-- Grain: one table per run: image_id, sha256, pred, confidence, probs FLOAT[n], activation FLOAT[m].
-- Parameters: none
-- Edges: a mapped run also has raw_pred, raw_confidence and inside.
-- Source: this project
create schema if not exists outputs;
