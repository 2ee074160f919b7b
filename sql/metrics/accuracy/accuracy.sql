-- Share of right answers, with its Wilson score interval.
-- Grain: one row.
-- Parameters: rel, level := 0.95
-- Edges: NULL label or pred is left out; label or pred below 0 is wrong; no rows give n = 0 and NULL.
-- Source: Wilson (1927), J. Am. Stat. Assoc. 22:209-212.
create or replace macro accuracy(rel, level := 0.95) as table
with _counts as (
    select
        count(*) as n,
        count(*) filter (where _correct(label, pred)) as correct,
    from query_table(rel)
    where label is not null
        and pred is not null
)

select
    n,
    correct,
    correct / nullif(n, 0) as accuracy,
    wilson_low(correct, n, level) as ci_low,
    wilson_high(correct, n, level) as ci_high,
from _counts;
