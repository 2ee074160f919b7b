-- The top of the page: what the run is, its main figures, and the other runs of the file.

-- name: run_list
-- Every run of this file with its state, newest first; a run that never finished sorts by its start.
-- has_predictions is false for embeddings, and for results of map_batches without pred and confidence.
select
    run,
    status,
    dataset,
    model,
    run in (
        select table_name
        from duckdb_columns()
        where database_name = current_database()
            and schema_name = 'outputs'
            and column_name in ('pred', 'confidence')
        group by table_name
        having count(*) = 2
    ) as has_predictions,
    run in (
        select table_name
        from duckdb_columns()
        where database_name = current_database()
            and schema_name = 'outputs'
            and column_name = 'activation'
    ) as has_activations,
from runs
order by coalesce(finished_at, started_at) desc, started_at desc, run;


-- name: run_columns
-- Columns of the view of a run; one that was added without probabilities has no probs.
select column_name as name
from (describe {{ ident(run) }});


-- name: lineage
-- What a run is: model, weights, data, settings, and its newest projection.
-- The first and last uri give the common prefix of the data set.
with _uris as (
    select
        dataset,
        min(uri) as first_uri,
        max(uri) as last_uri,
    from images
    group by dataset
),

_projection as (
    select
        projection,
        method,
        params,
        seed,
    from projection_specs
    where run = {{ literal(run) }}
    order by created_at desc, projection desc
    limit 1
)

select
    runs.run,
    runs.status,
    runs.dataset,
    datasets.source,
    runs.selection,
    runs.model,
    runs.weights,
    runs.weights_sha256,
    runs.model_label_space,
    runs.label_space,
    runs.class_policy,
    runs.outputs,
    runs.prompts,
    runs.layer,
    runs.dtype,
    runs.device,
    runs.batch_size,
    runs.packages,
    runs.members,
    runs.sample,
    runs.n_images,
    runs.n_errors,
    runs.started_at,
    runs.finished_at,
    coalesce(label_spaces.n_classes, outputs.n_classes) as n_classes,
    _projection.projection,
    _projection.method,
    _projection.params,
    _projection.seed,
    _uris.first_uri,
    _uris.last_uri,
from runs
left join datasets on runs.dataset = datasets.dataset
left join label_spaces on datasets.label_space = label_spaces.label_space
left join label_spaces as outputs on runs.label_space = outputs.label_space
left join _uris on runs.dataset = _uris.dataset
left join _projection on true
where runs.run = {{ literal(run) }};


-- name: run_counts
-- How many images of a run have an output, a label, a prediction, coordinates.
-- n_duplicates counts images with the bytes of another image of the run, beyond the first.
select
    count(*) as n_outputs,
    count(label) as n_labeled,
    count(*) - count(pred) as n_no_prediction,
    count(*) filter (where pred = -1) as n_outside,
    count(accepted) as n_accepted,
    count(distinct row(label, pred)) filter (where label is not null and pred is not null) as n_cells,
    count(*) - count(distinct sha256) as n_duplicates,
    count(*) filter (where isfinite(x) and isfinite(y)) as n_placed,
    string_agg(distinct split, ', ' order by split) as splits,
    count(*) - count(split) as n_no_split,
    count(distinct split) + (n_no_split > 0)::integer as n_splits,
    avg(confidence) as mean_confidence,
from {{ ident(run) }};


-- name: policy_accuracies
-- Of a run whose outputs are mapped to classes: the answers outside the classes, and accuracy under both policies.
-- open counts an answer outside as wrong; restricted takes the best class, as if the other outputs were not there.
select
    count(*) filter (where mapped.to_class is null) as n_outside,
    count(*) as n_answers,
    avg(_correct(answers.label, coalesce(mapped.to_class, -1))::integer) as accuracy_open,
    avg(_correct(answers.label, argmax(answers.probs))::integer) as accuracy_restricted,
from {{ ident(run) }} as answers
left join class_map as mapped
    on mapped.run = {{ literal(run) }}
    and answers.raw_pred = mapped.from_class
where answers.raw_pred is not null;


-- name: run_errors
-- Errors of a run by stage and class; messages are not shown, since they may contain private paths.
select
    stage,
    error,
    count(*) as n,
from errors
where run = {{ literal(run) }}
group by stage, error
order by n desc, stage, error;


-- name: key_figures
-- The main figures of a run: accuracy with its interval and the scores over classes.
-- Images without a label or a prediction are left out; every figure is NULL when none is left.
select
    accuracy.n,
    accuracy.correct,
    accuracy.n - accuracy.correct as mistakes,
    accuracy.accuracy,
    accuracy.ci_low,
    accuracy.ci_high,
    scores.balanced_accuracy,
    scores.precision_macro,
    scores.recall_macro,
    scores.f1_macro,
    scores.f1_weighted,
    scores.cohen_kappa,
    scores.mcc,
from accuracy({{ literal(run) }}) as accuracy
cross join scores({{ literal(run) }}) as scores;


-- name: intervals
-- Bootstrap intervals of the scores that have no closed form.
select
    metric,
    estimate,
    ci_low,
    ci_high,
from bootstrap_ci({{ literal(run) }}, n_resamples := $n_resamples);


-- name: top_five
-- Share of images whose label is among the five most probable classes; ties go to the lower class.
select
    k,
    n,
    correct,
    accuracy,
    ci_low,
    ci_high,
from topk_accuracy({{ literal(run) }}, ks := [5]);


-- name: accepted_accuracy
-- Accuracy with several right answers per image; images with an empty list of them are left out.
select
    n,
    correct,
    accuracy,
    ci_low,
    ci_high,
from accuracy_accepted({{ literal(run) }});


-- name: run_accuracy
-- Accuracy of several runs, each on its own labeled images, with its 95 % Wilson interval.
-- Whether intervals overlap is not a test of their difference. One relation of all runs is bound once, not per run.
with shown_runs as ( -- noqa: ST03
{% for run in runs %}
    select
        {{ literal(run) }} as run,
        image_id,
        label,
        pred,
    from {{ ident(run) }}
{% if not loop.last %}
    union all
{% endif %}
{% endfor %}
)

select
    accuracy.run,
    accuracy.n,
    accuracy.correct,
    accuracy.accuracy,
    accuracy.ci_low,
    accuracy.ci_high,
    scores.balanced_accuracy,
    scores.f1_macro,
from accuracy('shown_runs') as accuracy
inner join scores('shown_runs') as scores on accuracy.run = scores.run
where accuracy.run in (select run from shown_runs)
order by list_position([{% for run in runs %}{{ literal(run) }}{{ ', ' if not loop.last }}{% endfor %}], accuracy.run);


-- name: accuracy_by_split
-- Accuracy of each split with its 95 % Wilson interval.
select
    slice as split,
    n,
    correct,
    accuracy,
    ci_low,
    ci_high,
from accuracy_by({{ literal(run) }}, split)
order by split nulls last;


-- name: predicted_classes
-- How often each class is predicted, and with which mean confidence; at most 30 classes.
select
    coalesce(pred_name, case pred when -1 then '(outside)' else pred::varchar end) as name,
    count(*) as n,
    avg(confidence) as mean_confidence,
from {{ ident(run) }}
where pred is not null
group by pred, pred_name
order by n desc, pred
limit 30;
