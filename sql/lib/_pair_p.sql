-- Two-sided p of the difference of two shares of right answers on the same images, which may come in groups.
-- Grain: scalar.
-- Parameters: run_only, baseline_only (images that only one has right), n, deff, df (of _pair_counts)
-- Edges: without groups (df NULL) the exact sign test, with them never below it; one group (deff NULL): NULL.
-- Source: Student's t of the difference in _agresti_min_end at the effective counts; binomial test with p = 1/2
create or replace macro _pair_p(run_only, baseline_only, n, deff, df) as
case
    when deff is not null then greatest(_sign_test(run_only, baseline_only), 2 * _norm_sf(abs(_z_from_t(
        (run_only - baseline_only) / deff / sqrt(
            (run_only + baseline_only) / deff + 1 - ((run_only - baseline_only) / deff) ** 2 / (n / deff + 2)
        ),
        df
    ))))
end;
