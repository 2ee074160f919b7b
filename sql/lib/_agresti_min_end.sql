-- Lower end of a score-like interval of a difference of two shares on the same images, for a critical value.
-- Grain: scalar.
-- Parameters: run_only, baseline_only (images that only one has right), n (all three not necessarily whole), q (1.96)
-- Edges: NULL and n = 0 give NULL; never below -1.
-- Source: Agresti & Min (2005), Stat. Med. 24:729-740: half an image is added to each of the four cells.
create or replace macro _agresti_min_end(run_only, baseline_only, n, q) as
case
    when n > 0 and q is not null and baseline_only + run_only >= 0 then greatest(-1e0, (
        run_only - baseline_only
        - q * sqrt(baseline_only + run_only + 1 - (run_only - baseline_only) ** 2 / (n + 2e0))
    ) / (n + 2e0))
end;
