-- Value of the normal distribution that leaves as much beyond it as t does in Student's t distribution.
-- Grain: scalar.
-- Parameters: t, df (degrees of freedom, not necessarily whole)
-- Edges: as _t_from_z, of which it is the inverse, so that an interval and a p by both agree.
-- Source: Wallace (1959), Ann. Math. Stat. 30:1121-1130
create or replace macro _z_from_t(t, df) as
sign(t) * sqrt(df * ln(1 + t * t / df)) * (8 * df + 1) / (8 * df + 3);
