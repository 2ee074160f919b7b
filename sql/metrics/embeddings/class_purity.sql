-- How often the neighbors of each class's images have the same label.
-- Grain: one row per class, least pure first.
-- Parameters: rel, neighbors (image_id, neighbor_id, rank, such as <run>_neighbors), k := 10
-- Edges: as neighbor_agreement; isolated counts images none of whose neighbors has their label.
-- Source: mean of neighbor_agreement; knn_accuracy is that of the neighbors' most frequent label
create or replace macro class_purity(rel, neighbors, k := 10) as table
select
    label as class,
    count(*) as n,
    avg(purity) as purity,
    count(*) filter (where neighbor_label = label) / nullif(count(*), 0) as knn_accuracy,
    count(*) filter (where purity = 0) as isolated,
    any_value(label_name) as label_name,
from neighbor_agreement(rel, neighbors, k := k)
group by label
order by avg(purity), label;
