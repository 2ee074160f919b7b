-- Upper tail of the chi-squared distribution with one degree of freedom.
-- Grain: scalar.
-- Parameters: x
-- Edges: x <= 0 gives 1; NULL and NaN give what _norm_sf gives.
-- Source: the square of a standard normal variable
create or replace macro _chi2_sf_1df(x) as
case when x <= 0 then 1e0 else 2 * _norm_sf(sqrt(greatest(x, 0))) end;
