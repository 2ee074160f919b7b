-- Whether an answer is right, by an expression of the caller or, if there is none, by _correct.
-- Grain: scalar.
-- Parameters: given (true, false or NULL; the constant NULL: no expression), y_true, y_pred
-- Edges: NULL without a prediction and where the expression is NULL; an expression that is not boolean is an error.
-- Source: definition
create or replace macro _right(given, y_true, y_pred) as
-- The type tells whether an expression was given: one that is NULL for an image must not fall back to the label.
case
    when y_pred is null then null
    when typeof(given) = '"NULL"' then _correct(y_true, y_pred)
    when typeof(given) = 'BOOLEAN' then try_cast(given as boolean)
    else error(format('is_right has to be true or false for an image, such as pred = 1, not {}', typeof(given)))
end;
