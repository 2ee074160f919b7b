-- A value as a number if it has a numeric type and is finite, else NULL.
-- Grain: scalar.
-- Parameters: x
-- Edges: NULL for NaN, infinity, NULL and every other type, including text.
-- Source: definition
create or replace macro _finite_number(x) as
case
    when regexp_matches(typeof(x), '^(FLOAT|DOUBLE|DECIMAL.*|[A-Z]*INT(EGER)?)$') and isfinite(try_cast(x as double))
        then try_cast(x as double)
end;
