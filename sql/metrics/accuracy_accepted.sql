-- Share of answers that are among the accepted classes of their image, with its Wilson score interval.
-- Grain: one row.
-- Parameters: rel (with accepted INTEGER[] beside label and pred), level := 0.95
-- Edges: accepted NULL: only label is right; empty: left out, in n_empty; NULL pred or neither: left out; -1 is wrong.
-- Source: Beyer et al. (2020), Are we done with ImageNet?, arXiv:2006.07159 (ReaL accuracy); Wilson (1927)
create or replace macro accuracy_accepted(rel, level := 0.95) as table
with _answers as (
    select
        pred,
        coalesce(accepted, [label]) as classes,
    from query_table(rel)
    where pred is not null
        and (label is not null or accepted is not null)
),

_counts as (
    select
        count(*) filter (where len(classes) > 0) as n,
        count(*) filter (where list_contains(classes, pred)) as correct,
        count(*) filter (where len(classes) = 0) as n_empty,
    from _answers
)

select
    n,
    correct,
    correct / nullif(n, 0) as accuracy,
    wilson_low(correct, n, level) as ci_low,
    wilson_high(correct, n, level) as ci_high,
    n_empty,
from _counts;
