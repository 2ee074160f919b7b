-- Data sets, label spaces and their classes.

-- name: insert_dataset
-- A new data set.
insert into datasets (dataset, label_space, source)
values (?, ?, ?);


-- name: read_dataset
-- Label space and source of one data set.
select
    label_space,
    source,
from datasets
where dataset = ?;


-- name: list_datasets
-- Names and label spaces of all data sets, oldest first.
select
    dataset,
    label_space,
from datasets
order by created_at, dataset;


-- name: update_dataset_space
-- The label space of a data set; a data set that has one keeps it.
update datasets
set label_space = ?
where dataset = ?
    and label_space is null;


-- name: insert_label_space
-- The number of classes of a label space.
insert into label_spaces (label_space, n_classes)
values (?, ?);


-- name: delete_label_space
-- Delete the row of a label space before it is written again.
delete from label_spaces
where label_space = ?;


-- name: insert_classes
-- Add the classes of the relation added_classes to a label space.
insert into classes (label_space, class, name, extra)
select
    ? as label_space,
    class,
    name,
    extra,
from added_classes;


-- name: delete_classes
-- Delete the classes of a label space before they are written again.
delete from classes
where label_space = ?;


-- name: read_classes
-- Classes of one label space, in order.
select
    class,
    name,
    extra ->> 'wnid' as wnid,
from classes
where label_space = ?
order by class;


-- name: count_indexed_classes
-- Of how many classes of a label space somebody said the index; they come first.
select count(*) as n
from classes
where label_space = ?
    and extra ->> 'indexed' = 'true';


-- name: read_label_space_user
-- A run whose predictions are in this label space, if there is one.
select run
from runs
where label_space = ?
limit 1;
