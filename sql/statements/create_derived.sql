-- Outputs of a run that is made of others: the weighted mean of their probabilities, each at its temperature.
-- Grain: one row per image that every member has answered.
-- Parameters: run, members (run, weight, temperature), columns (name, type)
-- Edges: weights sum to 1; ties go to the lower class; a single member's pred and further columns stay as they are.
-- Source: Guo et al. (2017), ICML: softmax(ln p / temperature), in functions of DuckDB alone: any client reads it
{% set one = members | length == 1 %}
{% set own = columns | map(attribute=0) | reject('in', ['pred', 'confidence', 'probs']) | list if one else [] %}
create view outputs.{{ ident(run) }} as
with
{% for member in members %}
_member_{{ loop.index }} as (
    select
        *,
{% if member.temperature == 1 %}
        probs as powers,
        1e0 as total,
    from outputs.{{ ident(member.run) }}
    where probs is not null
{% else %}
        list_sum(powers) as total,
    from (
        select
            *,
            list_transform(
                probs, lambda _p: exp((ln(greatest(_p, 1.1754944e-38)) - top) / {{ member.temperature }}::double)
            ) as powers,
        from (
            select
                *,
                ln(greatest(list_max(probs), 1.1754944e-38)) as top,
            from outputs.{{ ident(member.run) }}
            where probs is not null
        ) as tops
    ) as softened
{% endif %}
),

{% endfor %}
_joined as (
    select
        _member_1.*,
        list_zip({% for _ in members %}_member_{{ loop.index }}.powers{{ ', ' if not loop.last }}{% endfor %}) as together,
{% for member in members %}
        {{ member.weight }}::double / _member_{{ loop.index }}.total as share_{{ loop.index }},
{% endfor %}
    from _member_1
{% for _ in members[1:] %}
    inner join _member_{{ loop.index + 1 }}
        on _member_1.image_id = _member_{{ loop.index + 1 }}.image_id
        and _member_1.sha256 = _member_{{ loop.index + 1 }}.sha256
{% endfor %}
),

_means as (
    select
        * replace (list_transform(
            together, lambda _p: {% for _ in members %}_p[{{ loop.index }}] * share_{{ loop.index }}{{ ' + ' if not loop.last }}{% endfor %}

        )::{{ dict(columns).probs }} as probs),
    from _joined
)

select
    image_id,
    sha256,
    {{ 'pred' if one else 'list_position(probs, list_max(probs)) - 1' }}::integer as pred,
    {{ 'coalesce(probs[pred + 1], confidence)' if one else 'list_max(probs)' }}::float as confidence,
    probs,
{% for name in own %}
    {{ ident(name) }},
{% endfor %}
from _means;
