-- Accuracy with an interval that holds after every block of images: stop evaluating when it is narrow enough.
-- Grain: one row per run.
-- Parameters: rel (or a list; images in random order), level := 0.95
-- Edges: NULL label or pred is left out; below 0 is wrong; no rows give n = 0 and NULL; an image_id twice is an error.
-- Source: Robbins (1970), Ann. Math. Stat. 41:1397-1409; Waudby-Smith & Ramdas (2020), NeurIPS: uniform prior
create or replace macro accuracy_anytime(rel, level := 0.95) as table
select
    n,
    correct,
    accuracy,
    _anytime_low(correct, n, level) as ci_low,
    _anytime_high(correct, n, level) as ci_high,
    run,
from accuracy(rel)
order by run;
