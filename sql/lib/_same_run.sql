-- True, or an error that names two runs where one is meant.
-- Grain: scalar.
-- Parameters: a, b (the least and the greatest name of a run)
-- Edges: NULL is not a run.
-- Source: definition
create or replace macro _same_run(a, b) as
case
    when a < b
        then error(format('a list of several runs, such as {} and {}, where one run is meant: name one', a, b))
    else true
end;
