-- Only answers of at least a given confidence: how many images are answered, and how accurately.
-- Grain: one row.
-- Parameters: rel, threshold (the least confidence that is answered), level := 0.95
-- Edges: NULL label or pred is left out; NULL or NaN confidence abstains; nothing answered gives accuracy NULL.
-- Source: Chow (1970), IEEE Trans. Inf. Theory 16:41-46; Wilson (1927), J. Am. Stat. Assoc. 22:209-212.
create or replace macro at_threshold(rel, threshold, level := 0.95) as table
with _answers as (
    select
        _correct(label, pred) as is_right,
        confidence::double >= threshold::double and not isnan(confidence::double) as is_answered,
    from query_table(rel)
    where label is not null
        and pred is not null
),

_counts as (
    select
        count(*) as n,
        count(*) filter (where is_answered) as n_answered,
        count(*) filter (where is_answered and is_right) as correct,
    from _answers
)

select
    n,
    n_answered,
    n - n_answered as n_abstained,
    n_answered / nullif(n, 0) as coverage,
    correct / nullif(n_answered, 0) as accuracy,
    wilson_low(correct, n_answered, level) as ci_low,
    wilson_high(correct, n_answered, level) as ci_high,
from _counts;
