-- Whether two runs answer the same question: data set, classes, labels, and how many images both answered.
-- Grain: one row.
-- Parameters: run, baseline
-- Edges: n counts labelled images with a prediction; n_cells is what a paired bootstrap has to resample.
-- Source: macro paired
select
    subject.dataset,
    baseline.dataset as baseline_dataset,
    subject.output_space as space,
    baseline.output_space as baseline_space,
    subject.class_policy,
    baseline.class_policy as baseline_policy,
    (select count(*) from {{ ident(run) }} where label is not null and pred is not null) as n,
    (select count(*) from {{ ident(baseline) }} where label is not null and pred is not null) as baseline_n,
    both_runs.n as n_both,
    both_runs.n_cells,
from runs as subject
inner join runs as baseline on baseline.run = {{ literal(baseline) }}
cross join (
    select
        count(*) as n,
        count(distinct row(label, pred_a, pred_b)) as n_cells,
    from paired({{ literal(baseline) }}, {{ literal(run) }})
) as both_runs
where subject.run = {{ literal(run) }};
