-- Nearest neighbours of images, from the activations of a run (exact, euclidean).
-- Grain: one row per run, space, image and rank.
-- Parameters: none
-- Edges: rank starts at 1; an image is never its own neighbour.
-- Source: this project
create table if not exists neighbours (
    run varchar not null,
    space varchar not null,
    image_id bigint not null,
    neighbor_id bigint not null,
    rank integer not null,
    distance float not null
);
