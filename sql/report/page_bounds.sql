-- The corner and the size of the map: what turns the page's coordinates back into the projection's.
-- Grain: one row; NULL without a place.
-- Parameters: run
-- Edges: images without a finite place are left out.
-- Source: the newest projection of the run
select
    min(x)::double as left_x,
    min(y)::double as low_y,
    (max(x) - min(x))::double as width,
    (max(y) - min(y))::double as height,
from {{ ident(run) }}
where isfinite(x)
    and isfinite(y);
