-- Two-dimensional coordinates of images, from the activations of a run.
-- Grain: one row per run, projection and image.
-- Parameters: none
-- Edges: images without an activation have no row.
-- Source: this project
create table if not exists projections (
    run varchar not null,
    projection varchar not null,
    image_id bigint not null,
    x float not null,
    y float not null
);
