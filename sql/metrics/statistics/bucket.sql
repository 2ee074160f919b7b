-- The interval [low, high) of a number in steps of a width, as text: a slice out of a numeric column.
-- Grain: scalar.
-- Parameters: x, width
-- Edges: NULL, NaN, infinity and width <= 0 give NULL.
-- Source: definition
create or replace macro bucket(x, width) as
case
    when width > 0 and isfinite(x::double) then list_transform(
        [floor(x::double / width::double)],
        lambda _step: format('[{:.10g}, {:.10g})', _step * width::double, (_step + 1) * width::double)
    )[1]
end;
