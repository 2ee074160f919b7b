-- A share as percentage points, as text: 0.0285 is 2.9 with one decimal.
-- Grain: scalar.
-- Parameters: share, digits
-- Edges: NULL gives NULL; a typographic minus; never −0.0.
-- Source: definition
create or replace macro _points(share, digits) as
replace(format('{:.{}f}', round(100 * share, digits) + 0, digits), '-', '−');
