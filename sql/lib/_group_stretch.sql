-- By how much a bootstrap over groups has to be stretched, since few groups vary too little and not as the normal does.
-- Grain: scalar.
-- Parameters: n (images), sizes (of _group_sums), level
-- Edges: exactly 1 if each image is its own group; NULL if all are one group.
-- Source: Hesterberg (2015), Am. Stat. 69:371-386: sqrt(G / (G - 1)) and Student's t, with the effective number G
create or replace macro _group_stretch(n, sizes, level) as
case
    when coalesce(sizes = n, true) then 1e0
    else list_transform(
        [_norm_ppf((1 + level) / 2)],
        lambda _z: _t_from_z(_z, _group_df(n, sizes)) / _z / sqrt(1 - sizes / n / n)
    )[1]
end;
