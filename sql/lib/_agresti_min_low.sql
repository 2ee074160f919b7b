-- Lower end of the interval of the difference run - baseline of two shares of right answers on the same n images.
-- Grain: scalar.
-- Parameters: run_only, baseline_only (images that only one has right), n, level (0.95 for a 95 % interval)
-- Edges: n = 0 and NULL counts give NULL; a level outside 0..1 is an error; above 0 too often for small counts.
-- Source: Agresti & Min (2005), Stat. Med. 24:729-740: half an image is added to each of the four cells.
create or replace macro _agresti_min_low(run_only, baseline_only, n, level) as
case
    when n > 0 and baseline_only + run_only >= 0 then list_transform(
        [_norm_ppf((1 + _level(level)) / 2)],
        lambda _q: _agresti_min_end(run_only, baseline_only, n, _q)
    )[1]
end;
