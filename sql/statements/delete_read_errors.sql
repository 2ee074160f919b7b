-- Forget earlier read errors of the entries scanned now.
-- Grain: one row per entry with an earlier error.
-- Parameters: 1 data set
-- Edges: errors of runs stay.
-- Source: this project
delete from errors
where run is null
    and dataset = ?
    and uri in (select scanned.uri from scanned);
