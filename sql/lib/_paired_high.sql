-- Upper end of the interval of the difference run - baseline of two shares of right answers on the same n images.
-- Grain: scalar.
-- Parameters: run_only, baseline_only (images that only one has right), n, level (0.95 for a 95 % interval)
-- Edges: as _paired_low, of which it is the mirror image; never above 1.
-- Source: Agresti & Min (2005), Stat. Med. 24:729-740.
create or replace macro _paired_high(run_only, baseline_only, n, level) as
0 - _paired_low(baseline_only, run_only, n, level);
