-- Every image of a run made of others is answered or lacks a member.
-- Grain: one row updated.
-- Parameters: 1 run
-- Edges: none
-- Source: this project
update runs
set n_images = n_ok + n_errors
where run = ?;
