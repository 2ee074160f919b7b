-- 0-based index of the largest value of a list.
-- Grain: scalar.
-- Parameters: xs, a list or array of numbers
-- Edges: the lowest index wins a tie; a list that is NULL, empty or holds NaN gives NULL; NULL elements never win.
-- Source: the rule of numpy.argmax for ties
create or replace macro argmax(xs) as
case when not isnan(list_max(xs)::double) then list_position(xs, list_max(xs)) - 1 end;
