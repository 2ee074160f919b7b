-- True, or an error that names two runs where one is meant.
-- Grain: scalar.
-- Parameters: a, b (the least and the greatest name of a run)
-- Edges: NULL is not a run.
-- Source: definition
create or replace macro _same_run(a, b) as
case
    when a < b
        then error(format('one run is meant here, not several, such as {} and {}: name one', a, b))
    else true
end;
