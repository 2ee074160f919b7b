-- Account for the images of a run made of others that one of its members has no answer for.
-- Grain: one row per image that a member was asked for and the run has no output of.
-- Parameters: run, members (run)
-- Edges: an answer for other bytes than the image has now is none.
-- Source: this project
insert into errors (run, dataset, image_id, uri, sha256, stage, error, message)
with _answers as (
{% for member in members %}
    select
        image_id,
        sha256,
        {{ literal(member.run) }} as member,
    from outputs.{{ ident(member.run) }}
    where probs is not null
{% if not loop.last %}
    union all
{% endif %}
{% endfor %}
),

_asked as (
    select image_id
    from _answers
    union
    select errors.image_id
    from errors
    where errors.run in ({% for member in members %}{{ literal(member.run) }}{{ ', ' if not loop.last }}{% endfor %})
),

_answered as (
    select
        image_id,
        sha256,
        list(member) as members,
    from _answers
    group by image_id, sha256
)

select
    {{ literal(run) }} as run,
    images.dataset,
    images.image_id,
    images.uri,
    images.sha256,
    'forward' as stage,
    'MissingMember' as error,
    'no answer of ' || array_to_string(list_filter(
        [{% for member in members %}{{ literal(member.run) }}{{ ', ' if not loop.last }}{% endfor %}],
        lambda _member: not coalesce(list_contains(_answered.members, _member), false)
    ), ', ') as message,
from images
inner join _asked on images.image_id = _asked.image_id
anti join outputs.{{ ident(run) }} as done on images.image_id = done.image_id
left join _answered on images.image_id = _answered.image_id and images.sha256 = _answered.sha256;
