-- Keys of the images' extra columns that have few values: what a data set can be sliced by.
-- Grain: one row per key, at most 12.
-- Parameters: run
-- Edges: counted on the first 20,000 images; keys with one value, with more than 30, or with a quote are left out.
-- Source: this project
with _first as (
    select meta
    from {{ ident(run) }}
    where meta is not null
    order by image_id
    limit 20000
),

_pairs as (
    select
        unnest(json_keys(meta)) as name,
        meta,
    from _first
)

select
    name,
    count(distinct json_extract_string(meta, '$."' || name || '"')) as n_values,
from _pairs
where not regexp_matches(name, '["\\]')
group by name
having count(distinct json_extract_string(meta, '$."' || name || '"')) between 2 and 30
order by name
limit 12;
