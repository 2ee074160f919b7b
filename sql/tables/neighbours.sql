-- Nearest neighbours of the images of each run: exact, by cosine distance of their activations.
-- Grain: one row per run, space, image and rank.
-- Parameters: none
-- Edges: those of knn_graph, whose numbers these are; view <run>_neighbours has one run's; space is 'activation'.
-- Source: this project
create table if not exists neighbours (
    run varchar not null,
    space varchar not null,
    image_id bigint not null,
    neighbor_id bigint not null,
    rank integer not null,
    distance double not null
);
