-- Which columns of the images differ at all, and by how much their sizes spread.
-- Grain: one row.
-- Parameters: run
-- Edges: counts are of values; spread is from the 5th to the 95th percentile.
-- Source: this project
select
    count(distinct split) + max((split is null)::integer) as n_splits,
    count(distinct format) as n_formats,
    count(distinct sign(width_px - height_px)) as n_shapes,
    quantile_cont(least(width_px, height_px), 0.95) - quantile_cont(least(width_px, height_px), 0.05) as size_spread,
    (quantile_cont(n_bytes, 0.95) - quantile_cont(n_bytes, 0.05)) / 1000 as bytes_spread,
from {{ ident(run) }};
