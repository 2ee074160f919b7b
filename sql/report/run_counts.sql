-- How many images of a run have an output, a label, a prediction, a place on the map.
-- Grain: one row.
-- Parameters: run
-- Edges: duplicates counts images whose bytes another image of the run has too, beyond the first.
-- Source: this project
select
    count(*) as n_outputs,
    count(label) as n_labelled,
    count(*) - count(pred) as n_no_prediction,
    count(*) filter (where pred = -1) as n_outside,
    count(accepted) as n_accepted,
    count(distinct row(label, pred)) filter (where label is not null and pred is not null) as n_cells,
    count(*) - count(distinct sha256) as n_duplicates,
    count(*) filter (where isfinite(x) and isfinite(y)) as n_placed,
    string_agg(distinct split, ', ' order by split) as splits,
    avg(confidence) as mean_confidence,
from {{ ident(run) }};
