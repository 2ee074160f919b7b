-- The rows of a page as a temporary table: what `page_rows` packed, unpacked.
-- Grain: one row per image of the page.
-- Parameters: name (of the table)
-- Edges: -2 is no label or prediction, -1 no confidence, 65535 no place; places are exact to 1/65,534 of the map.
-- Source: this project
create or replace temporary table {{ ident(name) }} as
with _named as (
    select
        place,
        sum(id_step) over (order by _page_rows.place)::bigint as image_id,
        name as uri,
        nullif(label, -2)::integer as label,
        nullif(pred, -2)::integer as pred,
        nullif(confidence, -1)::float as confidence,
        case when x < 65535 then _page_facts.left + x / 65534 * _page_facts.span end::float as x,
        case when y < 65535 then _page_facts.low + y / 65534 * _page_facts.span end::float as y,
    from _page_rows
    cross join _page_facts
)

select
    _named.image_id,
    _named.uri,
    _named.label,
    labels.name as label_name,
    _named.pred,
    preds.name as pred_name,
    _named.confidence,
    _named.label = _named.pred as correct,
    _named.x,
    _named.y,
    _page_thumbnails.image as thumbnail,
from _named
left join _page_classes as labels on _named.label = labels.class
left join _page_classes as preds on _named.pred = preds.class
left join _page_thumbnails on _named.place = _page_thumbnails.row
order by _named.image_id;
