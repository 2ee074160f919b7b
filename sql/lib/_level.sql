-- A confidence level, checked: outside of 0 to 1 it is an error, so that 95 instead of 0.95 gives no figure.
-- Grain: scalar.
-- Parameters: level
-- Edges: 0, 1, NaN and NULL are errors too.
-- Source: definition
create or replace macro _level(level) as
case
    when level > 0 and level < 1 then level::double
    else error(format('level must be between 0 and 1, such as 0.95, not {}', coalesce(level::varchar, 'NULL')))::double
end;
