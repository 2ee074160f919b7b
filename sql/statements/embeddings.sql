-- What is computed from activations: neighbors, projections and clusters.

-- name: read_activations
-- Activations of a run in image order; they may be NULL.
select
    image_id,
    activation,
from outputs.{{ ident(run) }}
order by image_id;


-- name: insert_neighbors
-- The neighbors in the relation found_neighbors.
insert into neighbors (run, embedding, image_id, neighbor_id, rank, distance)
select
    ? as run,
    ? as embedding,
    image_id,
    neighbor_id,
    rank,
    distance,
from found_neighbors;


-- name: insert_neighbor_spec
-- Which activations the neighbors of a run were computed from.
insert into neighbor_specs (run, embedding, k, n_images, n_left_out, digest)
values (?, ?, ?, ?, ?, ?);


-- name: read_neighbor_spec
-- Which activations the neighbors of a run were computed from, if it has any.
select
    k,
    digest,
from neighbor_specs
where run = ?;


-- name: read_neighbors
-- The nearest neighbors of the images of a run up to rank k, in order of image and rank.
select
    neighbor_id,
    distance,
from neighbors
where run = ?
    and rank <= ?
order by image_id, rank;


-- name: recreate_neighbors_view
-- The nearest neighbors of the images of one run, for example from near_duplicates('<run>_neighbors').
create or replace view {{ ident(run ~ '_neighbors') }} as
select
    image_id,
    neighbor_id,
    rank,
    distance,
from neighbors
where run = {{ literal(run) }};


-- name: insert_projection_spec
-- How a projection was made.
insert into projection_specs (run, projection, method, params, seed)
values (?, ?, ?, ?, ?);


-- name: insert_projections
-- The coordinates in the relation projected.
insert into projections (run, projection, image_id, x, y)
select
    ? as run,
    ? as projection,
    image_id,
    x,
    y,
from projected;


-- name: delete_projection
-- Delete one projection of a run from one table.
delete from {{ ident(table) }}
where run = ?
    and projection = ?;


-- name: insert_cluster_spec
-- How a clustering was made.
insert into cluster_specs (run, clustering, method, params, seed)
values (?, ?, ?, ?, ?);


-- name: insert_clusters
-- The clusters in the relation clustered.
insert into clusters (run, clustering, image_id, cluster, distance)
select
    ? as run,
    ? as clustering,
    image_id,
    cluster,
    distance,
from clustered;


-- name: delete_clustering
-- Delete one clustering of a run from one table.
delete from {{ ident(table) }}
where run = ?
    and clustering = ?;


-- name: add_cluster_column
-- A column for the clusters in the output table of a run, where its view reads them without a join.
alter table outputs.{{ ident(run) }} add column if not exists cluster integer;


-- name: update_cluster_column
-- Copy the clusters of the relation clustered to the outputs of a run; an image that was not clustered gets NULL.
update outputs.{{ ident(run) }} as outputs
set cluster = (
    select clustered.cluster
    from clustered
    where clustered.image_id = outputs.image_id
);
