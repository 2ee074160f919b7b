-- Clusters of images, from the activations of a run.
-- Grain: one row per run, clustering and image.
-- Parameters: none
-- Edges: cluster starts at 0; distance is euclidean, to the center; images without a finite activation have no row.
-- Source: this project
create table if not exists clusters (
    run varchar not null,
    clustering varchar not null,
    image_id bigint not null,
    cluster integer not null,
    distance float not null
);
