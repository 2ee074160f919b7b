-- How much nearer than to its label an image is to other classes, for the wanted pairs of label and class.
-- Grain: one row per image and wanted class of its label.
-- Parameters: rel, cells (a relation of label, true_class, quota)
-- Edges: left out as in label_quality; gap > 0 means that the class is more probable than the label.
-- Source: the margins of prune by noise rate; Northcutt, Jiang & Chuang (2021), J. Artif. Intell. Res. 70:1373-1411.
create or replace macro class_gaps(rel, cells) as table
with _lists as (
    select
        label,
        list(true_class order by true_class) as classes,
        list(true_class + 1 order by true_class) as places,
        list(quota order by true_class) as quotas,
    from query_table(cells)
    group by label
)

select
    _guesses.image_id,
    _guesses.label,
    _guesses.pred,
    _guesses.self_confidence,
    _guesses.confidence,
    unnest(_lists.classes) as true_class,
    unnest(list_select(_guesses.probs, _lists.places)) - _guesses.self_confidence as gap,
    unnest(_lists.quotas) as quota,
from confident_guesses(rel) as _guesses
inner join _lists
    on _guesses.label = _lists.label;
