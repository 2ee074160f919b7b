-- True, or an error that names the run, if images occur more than once: they would be counted as more than there are.
-- Grain: scalar.
-- Parameters: name (of the run), n_ids (rows with an image_id), n_images (different ones)
-- Edges: rows without an image_id are not counted; in a where, since an error in a column nobody selects is pruned.
-- Source: definition
create or replace macro _once(name, n_ids, n_images) as
case
    when n_ids > n_images then error(format(
        '{}: {:,} of {:,} rows repeat an image_id, and an image counts once: filter the rows, or tell the runs apart '
        || 'in a column run', name, n_ids - n_images, n_ids
    ))
    else true
end;
