-- Lower end of the interval of the difference run - baseline on the same images, which may come in groups.
-- Grain: scalar.
-- Parameters: run_only, baseline_only (images that only one has right), n, deff, df, p_value (_pair_p), level
-- Edges: without groups as _paired_low; one group (deff NULL): NULL; 0 where it is above 0 and p_value is > 1 - level.
-- Source: Agresti & Min (2005), Stat. Med. 24:729-740, at the effective counts and with Student's t
create or replace macro _pair_low(run_only, baseline_only, n, deff, df, p_value, level) as
list_transform(
    [_norm_ppf((1 + _level(level)) / 2)],
    lambda _z: list_transform(
        [_agresti_min_end(run_only / deff, baseline_only / deff, n / deff, coalesce(_t_from_z(_z, df), _z))],
        lambda _low: case when _low > 0 and p_value > 1 - level then 0e0 else _low end
    )[1]
)[1];
