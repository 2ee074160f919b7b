-- Images of a run without predictions: examples of each cluster, or of the whole run.

-- name: embedding_size
-- How many numbers the embedding of an image has.
select len(any_value(activation)) as n
from {{ ident(run) }};


-- name: cluster_sizes
-- The clusters of the run, the largest first, each with the commonest label of its images.
with _counts as (
    select
        cluster,
        coalesce(label_name, label::varchar) as name,
        count(*) as n,
    from {{ ident(run) }}
    where cluster is not null
    group by cluster, name
)

select
    cluster,
    sum(n)::bigint as n,
    arg_max(name, n) filter (where name is not null) as name,
    max(n) filter (where name is not null) / sum(n) as share,
from _counts
group by cluster
order by sum(n) desc, cluster;


-- name: cluster_examples
-- Of each cluster the $max_images images nearest to its center.
with _newest as (
    select arg_max(clustering, created_at) as clustering
    from cluster_specs
    where run = {{ literal(run) }}
)

select
    images.image_id,
    images.cluster,
    coalesce(images.label_name, images.label::varchar) as label_name,
    images.uri,
    images.width_px,
    images.height_px,
from {{ ident(run) }} as images
inner join clusters on images.image_id = clusters.image_id and clusters.run = {{ literal(run) }}
inner join _newest on clusters.clustering = _newest.clustering
where images.cluster is not null
qualify row_number() over (partition by images.cluster order by clusters.distance, images.image_id) <= $max_images
order by images.cluster, clusters.distance, images.image_id;


-- name: example_images
-- A uniform sample of the images: the first $max_images by sha256, always the same.
select
    image_id,
    coalesce(label_name, label::varchar) as label_name,
    uri,
    width_px,
    height_px,
from {{ ident(run) }}
order by sha256, image_id
limit $max_images;
