-- Share of answers that are among the accepted classes of their image, with its Wilson score interval.
-- Grain: one row.
-- Parameters: rel (with accepted INTEGER[] beside label and pred), level := 0.95
-- Edges: accepted NULL: label alone is right; empty: left out, in n_empty; NULL pred: left out; below 0 is wrong.
-- Source: Beyer et al. (2020), Are we done with ImageNet?, arXiv:2006.07159 (ReaL accuracy); Wilson (1927)
create or replace macro accuracy_accepted(rel, level := 0.95) as table
with _answers as (
    select
        case
            when accepted is null then _correct(label, pred)
            when len(accepted) > 0 then pred >= 0 and list_contains(accepted, pred)
        end as is_right,
    from query_table(rel)
    where pred is not null
        and (label is not null or accepted is not null)
),

_counts as (
    select
        count(is_right) as n,
        count(*) filter (where is_right) as correct,
        count(*) - count(is_right) as n_empty,
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
