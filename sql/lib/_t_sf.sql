-- Two-sided tail of Student's t distribution: probability of a value at least as far from 0 as t.
-- Grain: scalar.
-- Parameters: t, df (degrees of freedom, not necessarily whole)
-- Edges: t = 0 gives 1, infinite t 0; NULL and df not above 0 give NULL; relative error below 1e-8 down to 1e-25.
-- Source: incomplete beta function; from df 200 on Hill (1970), Algorithm 395, Commun. ACM 13:617-619.
create or replace macro _t_sf(t, df) as
case
    when not df > 0 or df is null then null
    when abs(t) = 'inf'::double then 0e0
    when df < 200 then list_transform(
        [struct_pack(df := df::double, square := t::double * t)],
        lambda _s: case
            when _s.square = 0 then 1e0
            when _s.square > 3 * _s.df / (_s.df + 2) then _beta_part(_s.df / 2, 0.5e0, _s.df / (_s.df + _s.square))
            else 1 - _beta_part(0.5e0, _s.df / 2, _s.square / (_s.df + _s.square))
        end
    )[1]
    else list_transform(
        [t::double * t / df],
        -- The logarithm of 1 + x, exact for x that vanishes beside 1.
        lambda _x: list_transform(
            [(df - 0.5e0) * case when 1 + _x > 1 then ln(1 + _x) * _x / (1 + _x - 1) else _x end],
            lambda _y: 2 * _norm_sf(sqrt(_y) * (
                1 + (
                    _y + 3 + (((-0.4e0 * _y - 3.3e0) * _y - 24) * _y - 85.5e0)
                    / (0.8e0 * _y * _y + 100 + 48 * (df - 0.5e0) ** 2)
                ) / (48 * (df - 0.5e0) ** 2)
            ))
        )[1]
    )[1]
end;
