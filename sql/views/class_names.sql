-- Names of the classes of each run: those of the label space of its data set.
-- Grain: one row per run and class.
-- Parameters: none
-- Edges: no rows for a run whose data set has no label space.
-- Source: tables runs, datasets, classes
create or replace view class_names as
select
    runs.run,
    classes.class,
    classes.name,
from runs
inner join datasets on runs.dataset = datasets.dataset
inner join classes on datasets.label_space = classes.label_space;
