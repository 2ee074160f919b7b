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


-- name: read_stored_activation
-- The activation of one image of a run.
select
    image_id,
    activation,
from {{ ident(run) }}
where image_id = $image_id
    and activation is not null;


-- name: find_stored_activation
-- The activation of an image with these bytes, best of the one at this place.
select
    image_id,
    activation,
from {{ ident(run) }}
where sha256 = $sha256
    and activation is not null
order by uri = $uri desc, image_id
limit 1;


-- name: search_images
-- The images of a run whose activations are most similar to a vector, by cosine; without the image $itself.
-- As in similar_to, NULL, NaN and zero activations are left out.
with _similarities as materialized (
    select
        image_id,
        round(list_cosine_similarity(activation::double[], $vector::double[]), 9) as similarity,
    from {{ ident(run) }}
    where image_id is distinct from $itself
        and list_inner_product(activation::double[], activation::double[]) > 0
        and isfinite(list_inner_product(activation::double[], activation::double[]))
),

_nearest as (
    select
        row_number() over (order by similarity desc, image_id) as rank,
        image_id,
        similarity,
    from _similarities
    where isfinite(similarity)
    order by rank
    limit $max_rows
)

select
    _nearest.rank,
    images.image_id,
    images.uri,
    images.split,
    images.label_name,
{% if predicted %}
    images.pred_name,
    images.confidence,
{% endif %}
    _nearest.similarity,
from _nearest
inner join {{ ident(run) }} as images on _nearest.image_id = images.image_id
order by _nearest.rank;
