-- How many scanned entries are new, changed, known and unreadable.
-- Grain: one row.
-- Parameters: 1 data set
-- Edges: changed means other bytes under a known uri.
-- Source: this project
select
    count(*) filter (where scanned.message is null and images.uri is null) as n_added,
    count(*) filter (where scanned.sha256 <> images.sha256) as n_changed,
    count(*) filter (where scanned.sha256 = images.sha256) as n_unchanged,
    count(*) filter (where scanned.message is not null) as n_errors,
from scanned
left join images on scanned.uri = images.uri and images.dataset = ?;
