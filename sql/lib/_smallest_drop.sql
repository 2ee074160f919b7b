-- The smallest true drop of accuracy that McNemar's exact test establishes on n images with a power of 80 %.
-- Grain: scalar.
-- Parameters: n, differing (images that only one has right), level
-- Edges: n = 0 and NULL give NULL; never above 1; two of n + 4 images are assumed to differ if none does.
-- Source: Connor (1987), Biometrics 43:207-211, solved for the difference by bisection
create or replace macro _smallest_drop(n, differing, level) as
case
    when n > 0 then list_transform(
        [(differing + 2) / (n + 4e0)],
        lambda _share: list_reduce( -- noqa: LT01
            list_transform(range(1, 41), lambda _i: 0.5e0 ** _i), -- noqa
            lambda _gap, _step: case
                when _images_to_establish(_gap - _step, _share, 0.8e0, level) <= n then _gap - _step
                else _gap
            end,
            1e0
        )
    )[1]
end;
