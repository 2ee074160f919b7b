-- The rows of _pairs counted by label, group, and who is right: all that tests of two runs need, read once.
-- Grain: one row per label, cluster, correct_run and correct_baseline.
-- Parameters: rel, baseline, is_right, groups := null (SQL over the columns of rel)
-- Edges: as paired.
-- Source: definition
create or replace macro _pair_cells(rel, baseline, is_right := null, groups := null) as table
select
    label,
    cluster,
    correct_run,
    correct_baseline,
    count(*) as n,
from _pairs(rel, baseline, is_right := is_right, groups := groups)
group by label, cluster, correct_run, correct_baseline;
