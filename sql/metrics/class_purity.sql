-- How well each class keeps together among neighbours.
-- Grain: one row per class, least pure first.
-- Parameters: rel, nbr (image_id, neighbor_id, rank, such as <run>_neighbours), k := 10
-- Edges: as neighbour_agreement; isolated counts images none of whose neighbours bears their label.
-- Source: mean of neighbour_agreement; knn_accuracy is that of the neighbours' commonest label
create or replace macro class_purity(rel, nbr, k := 10) as table
select
    label as class,
    count(*) as n,
    avg(purity) as purity,
    count(*) filter (where neighbour_label = label) / nullif(count(*), 0) as knn_accuracy,
    count(*) filter (where purity = 0) as isolated,
from neighbour_agreement(rel, nbr, k := k)
group by label
order by avg(purity), label;
