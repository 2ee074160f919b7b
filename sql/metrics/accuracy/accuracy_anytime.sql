-- Accuracy with an interval that holds after every block of images: stop evaluating when it is narrow enough.
-- Grain: one row.
-- Parameters: rel (images in random order), level := 0.95
-- Edges: NULL label or pred is left out; label or pred below 0 is wrong; no rows give n = 0 and NULL.
-- Source: Robbins (1970), Ann. Math. Stat. 41:1397-1409; Waudby-Smith & Ramdas (2020), NeurIPS: uniform prior
create or replace macro accuracy_anytime(rel, level := 0.95) as table
select
    n,
    correct,
    accuracy,
    _anytime_low(correct, n, level) as ci_low,
    _anytime_high(correct, n, level) as ci_high,
from accuracy(rel);
