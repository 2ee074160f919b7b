-- By what n and the right answers have to be multiplied for the Wilson interval of images that come in groups.
-- Grain: scalar.
-- Parameters: n, total (right answers), squares, crossed, sizes (of _group_sums), level
-- Edges: exactly 1 if each image is its own group; NULL if all are one group; never above 1.
-- Source: Korn & Graubard (1998), Surv. Methodol. 24:193-201; design effect at the share with one more group, see below
create or replace macro _group_scale(n, total, squares, crossed, sizes, level) as
case
    when sizes = n then 1e0
    else list_transform(
        -- Half a group of typical size that is all right and half of one that is all wrong are added: groups with
        -- mistakes are few if accuracy is high, and those seen alone claim too little variance.
        [(total + sizes / n / 2) / (n + sizes / n)],
        lambda _p: list_transform(
            [_norm_ppf((1 + level) / 2)],
            lambda _z: (_z / _t_from_z(_z, _group_df(n, sizes))) ** 2
        )[1] / greatest(1e0, (
            squares - 2 * _p * crossed + _p * _p * sizes + (sizes / n) ** 2 * (0.5e0 - _p * (1 - _p))
        ) / (n * _p * (1 - _p)))
    )[1]
end;
