-- A Poisson number from 64 given bits, for a bootstrap that gives the same numbers everywhere.
-- Grain: scalar.
-- Parameters: mean, steps (_poisson_steps(mean)), bits (UBIGINT, such as md5_number_lower(text))
-- Edges: below mean 10 by inversion of 32 bits; from 10 on the quantile expansion at a Box-Muller normal, rounded down.
-- Source: Giles (2016), Algorithm 955, ACM Trans. Math. Softw. 42:7; Box & Muller (1958), Ann. Math. Stat. 29:610-611.
create or replace macro _poisson_draw(mean, steps, bits) as
case
    -- Most numbers of a small mean are decided by the first steps, without a list being made.
    when steps is not null then case
        when (bits & 4294967295) / 4294967296e0 < steps[1] then 0
        when (bits & 4294967295) / 4294967296e0 < steps[2] then 1
        when (bits & 4294967295) / 4294967296e0 < steps[3] then 2
        else len(list_filter(steps, lambda _step: _step <= (bits & 4294967295) / 4294967296e0))
    end
    -- The list of one element names the normal variable, which is used five times.
    else list_transform(
        [
            sqrt(-2 * ln(((bits & 4294967295) + 0.5e0) / 4294967296e0))
            * cos(6.283185307179586e0 * ((bits >> 32) / 4294967296e0))
        ],
        lambda _z: greatest(
            0,
            floor(mean + sqrt(mean) * _z + (2 + _z * _z) / 6 - (_z * _z * _z + 2 * _z) / 72 / sqrt(mean))
        )
    )[1]
end::bigint;
