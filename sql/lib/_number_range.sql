-- A range of numbers as text, such as 0.12–0.31; one number if low and high are equal.
-- Grain: scalar.
-- Parameters: low, high
-- Edges: enough decimals for two digits of the difference, none for whole numbers; NULL gives NULL.
-- Source: definition
create or replace macro _number_range(low, high) as
case
    when low = high then format('{:.6g}', low::double)
    else list_transform(
        [case
            when low = round(low) and high = round(high) then 0
            else least(greatest(1 - floor(log10(high::double - low::double) + 1e-9), 0), 12)::integer
        end],
        lambda _d: format('{:.{}f}–{:.{}f}', low::double, _d, high::double, _d)
    )[1]
end;
