-- A value as a number, if it is one: of a numeric type and finite.
-- Grain: scalar.
-- Parameters: x
-- Edges: NULL for NaN, infinity, NULL and every other type, text too.
-- Source: definition
create or replace macro _finite_number(x) as
case
    when regexp_matches(typeof(x), '^(FLOAT|DOUBLE|DECIMAL.*|[A-Z]*INT(EGER)?)$') and isfinite(try_cast(x as double))
        then try_cast(x as double)
end;
