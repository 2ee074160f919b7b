-- Upper tail of the standard normal distribution: P(Z > z).
-- Grain: scalar.
-- Parameters: z
-- Edges: NULL gives NULL, NaN gives NaN, infinity gives 0 or 1; relative error below 1e-12, absolute 1e-15.
-- Source: Cody (1969), Rational Chebyshev approximations for the error function, Math. Comp. 23:631-637.
create or replace macro _norm_sf(z) as
list_transform(
    [z::double],
    lambda _z: case
        when isnan(_z) then _z
        when _z > 38.5e0 then 0e0
        when _z < -38.5e0 then 1e0
        when abs(_z) <= 0.67448975e0 then list_transform(
            [_z * _z],
            lambda _s: 0.5e0 - _z
            * ((((6.5682337918207449113e-2 * _s + 2.2352520354606839287e0) * _s + 1.6102823106855587881e2) * _s
            + 1.0676894854603709582e3) * _s + 1.8154981253343561249e4)
            / ((((_s + 4.720258190468824187e1) * _s + 9.7609855173777669322e2) * _s
            + 1.0260932208618978205e4) * _s + 4.5507789335026729956e4)
        )[1]
        else list_transform(
            [abs(_z)],
            lambda _y: case when _z > 0 then 0e0 else 1e0 end + sign(_z)
            -- exp(-y^2 / 2) in two factors, the first of which is exact: otherwise rounding of y^2 costs digits.
            * exp(-0.5e0 * (floor(_y * 16) / 16) ** 2)
            * exp(-0.5e0 * (_y - floor(_y * 16) / 16) * (_y + floor(_y * 16) / 16))
            * case
                when _y <= 5.656854249492380195e0
                    then
                        ((((((((1.0765576773720192317e-8 * _y + 3.9894151208813466764e-1) * _y
                        + 8.8831497943883759412e0) * _y + 9.3506656132177855979e1) * _y
                        + 5.9727027639480026226e2) * _y + 2.4945375852903726711e3) * _y
                        + 6.8481904505362823326e3) * _y + 1.1602651437647350124e4) * _y
                        + 9.8427148383839780218e3)
                        / ((((((((_y + 2.2266688044328115691e1) * _y + 2.3538790178262499861e2) * _y
                        + 1.519377599407554805e3) * _y + 6.485558298266760755e3) * _y
                        + 1.8615571640885098091e4) * _y + 3.4900952721145977266e4) * _y
                        + 3.8912003286093271411e4) * _y + 1.9685429676859990727e4)
                else list_transform(
                    [1 / (_y * _y)],
                    lambda _t: (
                        0.39894228040143267794e0 - _t
                        * (((((2.307344176494017303e-2 * _t + 2.1589853405795699e-1) * _t
                        + 1.274011611602473639e-1) * _t + 2.2235277870649807e-2) * _t
                        + 1.421619193227893466e-3) * _t + 2.9112874951168792e-5)
                        / (((((_t + 1.28426009614491121e0) * _t + 4.68238212480865118e-1) * _t
                        + 6.59881378689285515e-2) * _t + 3.78239633202758244e-3) * _t
                        + 7.29751555083966205e-5)
                    ) / _y
                )[1]
            end
        )[1]
    end
)[1];
