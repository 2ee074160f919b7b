-- Whether a drop of accuracy is excluded: the interval of the difference lies above it, and the score test says so too.
-- Grain: scalar.
-- Parameters: run_only, baseline_only (images that only one has right), n, max_drop (0.01: one point), level
-- Edges: n = 0 gives NULL; a drop of 0 is excluded by an established gain only.
-- Source: Tango (1998), Stat. Med. 17:891-908: under a drop some images must differ, so few images cannot exclude it
create or replace macro _drop_excluded(run_only, baseline_only, n, max_drop, level) as
case
    when n > 0 then _paired_low(run_only, baseline_only, n, level) > -max_drop::double and list_transform(
        [-(run_only + baseline_only) - (2 * n - run_only + baseline_only) * max_drop::double],
        lambda _b: run_only - baseline_only + n * max_drop::double >= _norm_ppf((1 + level) / 2) * sqrt(greatest(0e0,
            (sqrt(greatest(0e0, _b * _b - 8 * n * baseline_only * max_drop::double * (1 + max_drop))) - _b) / 2
            - n * max_drop::double * (1 + max_drop)
        ))
    )[1]
end;
