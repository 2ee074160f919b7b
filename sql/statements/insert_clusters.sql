-- Write the clusters of a clustering.
-- Grain: one row per row of the relation clustered.
-- Parameters: 1 run, 2 clustering
-- Edges: none
-- Source: this project
insert into clusters (run, clustering, image_id, cluster, distance)
select
    ? as run,
    ? as clustering,
    image_id,
    cluster,
    distance,
from clustered;
