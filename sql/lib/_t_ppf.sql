-- Critical value of Student's t distribution: the t with P(|T| <= t) = level.
-- Grain: scalar.
-- Parameters: level (0.95 for a 95 % interval), df (degrees of freedom, not necessarily whole, at least 0.5)
-- Edges: NULL and df not above 0 give NULL; relative error below 1e-10.
-- Source: bisection of _t_sf in 50 steps along the angle whose tangent is t / sqrt(df)
create or replace macro _t_ppf(level, df) as
case
    when df > 0 then sqrt(df::double) * tan(list_reduce( -- noqa: LT01
        list_transform(range(51), lambda _i: case when _i > 0 then pi() / 2 * 0.5e0 ** _i else 0 end), -- noqa
        lambda _angle, _step: case
            when _t_sf(sqrt(df::double) * tan(_angle + _step), df) > 1 - level then _angle + _step
            else _angle
        end
    ))
end;
