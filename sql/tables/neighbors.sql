-- Nearest neighbors of the images of each run: exact, by cosine distance of their activations.
-- Grain: one row per run, embedding, image and rank.
-- Parameters: none
-- Edges: those of knn_graph, whose numbers these are; view <run>_neighbors has one run's; embedding is 'activation'.
-- Source: this project
create table if not exists neighbors (
    run varchar not null,
    embedding varchar not null,
    image_id bigint not null,
    neighbor_id bigint not null,
    rank integer not null,
    distance double not null
);
