-- Accuracy with its Wilson score interval, for every value of an expression.
-- Grain: one row per value of expr (one more for NULL), in order of it.
-- Parameters: rel, expr (any SQL over the columns of rel; several as a row: (split, width_px > 256)), level := 0.95
-- Edges: NULL label or pred is left out; label or pred below 0 is wrong; no rows give no rows.
-- Source: Wilson (1927), J. Am. Stat. Assoc. 22:209-212.
create or replace macro accuracy_by(rel, expr, level := 0.95) as table
with _answers as (
    select
        expr as slice,
        _correct(label, pred) as is_right,
    from query_table(rel)
    where label is not null
        and pred is not null
),

_counts as (
    select
        slice,
        count(*) as n,
        count(*) filter (where is_right) as correct,
    from _answers
    group by slice
)

select
    slice,
    n,
    correct,
    correct / nullif(n, 0) as accuracy,
    wilson_low(correct, n, level) as ci_low,
    wilson_high(correct, n, level) as ci_high,
from _counts
order by slice;
