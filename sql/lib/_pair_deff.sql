-- The design effect of groups on the difference of two runs, as if there were half a group more in which they differ.
-- Grain: scalar.
-- Parameters: n, gained (right answers run - baseline), differing (images), squares, crossed, sizes (as _group_sums)
-- Edges: each image its own group: exactly 1; all in one group: NULL; never below 1.
-- Source: Liang & Zeger (1986), Biometrika 73:13-22; the half group as in _group_scale
create or replace macro _pair_deff(n, gained, differing, squares, crossed, sizes) as
case
    when coalesce(sizes = n, true) then 1e0
    when sizes < n::double * n then list_transform(
        [gained::double / n],
        -- Of two good runs few groups differ: those seen alone tell too little how much the images of one depend. The
        -- half group has the typical size, and in it only one of both runs is right.
        lambda _mean: greatest(
            1e0,
            (squares - 2 * _mean * crossed + _mean * _mean * sizes + (sizes / n) ** 2 / 2)
            / (differing - n * _mean * _mean + sizes / n / 2)
            / (1 - sizes / n / n)
        )
    )[1]
end;
