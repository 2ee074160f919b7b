-- Images that both runs have answered, by who is right, with the design effect of groups on their difference.
-- Grain: one row.
-- Parameters: rel, baseline, is_right, groups := null (SQL over the columns of rel)
-- Edges: as _cell_counts.
-- Source: _cell_counts
create or replace macro _pair_counts(rel, baseline, is_right := null, groups := null) as table
with _cells as materialized ( -- noqa: ST03
    from _pair_cells(rel, baseline, is_right := is_right, groups := groups)
)

from _cell_counts('_cells');
