-- At how many independent images a share would vary as one of images in groups does: for its Wilson interval.
-- Grain: scalar.
-- Parameters: share (any score that is 0 if all are wrong and 1 if all are right), variance, n, sizes, level
-- Edges: exactly n if each image is its own group, NULL if all are one group; never above n.
-- Source: Korn & Graubard (1998), Surv. Methodol. 24:193-201; one more group and G / (G - 1) as in _group_scale
create or replace macro _effective_n(share, variance, n, sizes, level) as
case
    when sizes = n then n::double
    else list_transform(
        -- As in _group_scale, half a group that is all right and half of one that is all wrong are added.
        [(share + sizes / n / n / 2) / (1 + sizes / n / n)],
        lambda _p: list_transform(
            [_norm_ppf((1 + level) / 2)],
            lambda _z: (_z / _t_from_z(_z, _group_df(n, sizes))) ** 2
        )[1] * least(n, _p * (1 - _p) / (
            variance / (1 - sizes / n / n) + (sizes / n / n) ** 2 * (0.5e0 - _p * (1 - _p))
        ))
    )[1]
end;
