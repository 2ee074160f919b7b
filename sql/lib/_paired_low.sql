-- Lower end of the interval of the difference run - baseline of two shares of right answers on the same n images.
-- Grain: scalar.
-- Parameters: run_only, baseline_only (images that only one has right), n, level (0.95 for a 95 % interval)
-- Edges: as _agresti_min_low; 0 where that is above 0 and the exact McNemar test does not establish a difference.
-- Source: Agresti & Min (2005), Stat. Med. 24:729-740; the exact test keeps the error rate at every n.
create or replace macro _paired_low(run_only, baseline_only, n, level) as
list_transform(
    [_agresti_min_low(run_only, baseline_only, n, level)],
    lambda _low: case when _low > 0 and _sign_test(run_only, baseline_only) > 1 - level then 0e0 else _low end
)[1];
