-- The run against its baseline, on the images that both have predicted; every difference is run - baseline.

-- name: run_pair
-- Whether two runs can be compared, and how many labeled images both have predicted.
select
    run,
    baseline,
    comparable,
    reason,
    n_both,
    sample,
from comparable
where run = {{ literal(run) }}
    and baseline = {{ literal(baseline) }};


-- name: pair_size
-- The number of cells that a paired bootstrap resamples.
select count(distinct row(label, pred_run, pred_baseline)) as n_cells
from paired({{ literal(run) }}, {{ literal(baseline) }});


-- name: paired_test
-- The verdict on the difference in accuracy, and how many images each run alone gets right.
with _cells as materialized ( -- noqa: ST03
    from _pair_cells({{ literal(run) }}, {{ literal(baseline) }})
)

select
    sentence,
    established,
    n,
    diff,
    ci_low,
    ci_high,
    p_exact,
    needed_n,
    (both_right + run_only) / nullif(n, 0) as accuracy_run,
    (both_right + baseline_only) / nullif(n, 0) as accuracy_baseline,
    both_right,
    run_only,
    baseline_only,
    both_wrong,
from _verdict_of('_cells', {{ literal(run) }}, {{ literal(baseline) }}, 0.95);


-- name: images_for_the_difference
-- How many labeled images the difference that was seen would take (80 % power).
select needed_n
from verdict({{ literal(run) }}, {{ literal(baseline) }});


-- name: images_for_a_point
-- How many images a gain of one point would take (80 % power), for runs that differ on a share $differing of the images.
with _given as (
    select
        least($baseline_accuracy, 0.99) as accuracy,
        greatest($differing, 0.01) as share,
)

select needed_n(accuracy, 0.01, differing := share) as needed_n,
from _given;


-- name: paired_test_by_duplicates
-- The paired test if near duplicates are groups of images that depend on each other.
with _with_groups as ( -- noqa: ST03
    select
        image_id,
        label,
        pred,
        group_id,
    from _duplicate_members({{ literal(run) }}, {{ literal(run ~ '_neighbors') }})
)

select
    diff,
    ci_low,
    ci_high,
    p_exact,
    p_exact <= 0.05 and (ci_low > 0 or ci_high < 0) as established,
from mcnemar('_with_groups', {{ literal(baseline) }}, groups := group_id);


-- name: paired_differences
-- Accuracy, balanced accuracy and macro F1 of both runs, and their differences with bootstrap intervals.
select
    metric,
    value_run,
    value_baseline,
    diff,
    ci_low,
    ci_high,
    p_two_sided,
from paired_bootstrap({{ literal(run) }}, {{ literal(baseline) }}, n_resamples := $n_resamples);


-- name: run_agreement
-- How often both runs predict the same, and in which direction the others changed.
select
    n,
    agreement,
    churn,
    negative_flips,
    positive_flips,
    wrong_differently,
from agreement({{ literal(run) }}, {{ literal(baseline) }});


-- name: class_differences
-- Recall of every class in both runs, the largest difference first.
-- p_holm corrects the exact test for the number of classes.
select
    compared.class,
    coalesce(names.name, compared.class::varchar) as name,
    compared.n,
    compared.recall_run,
    compared.recall_baseline,
    compared.diff,
    compared.ci_low,
    compared.ci_high,
    compared.run_only,
    compared.baseline_only,
    compared.p_value,
    compared.p_holm,
from compare_classes({{ literal(run) }}, {{ literal(baseline) }}) as compared
left join class_names as names on names.run = {{ literal(run) }} and compared.class = names.class
order by abs(compared.diff) desc, compared.n desc, compared.class;


-- name: flipped_images
-- Images that one run gets right and the other wrong, the most confident first, at most $max_images of each kind.
-- won is true where the run is right; a confidence that is NULL or NaN comes last.
with _flips as (
    select
        image_id,
        correct_run as won,
    from paired({{ literal(run) }}, {{ literal(baseline) }})
    where correct_run <> correct_baseline
)

select
    images.image_id,
    _flips.won,
    coalesce(images.label_name, images.label::varchar) as label_name,
    coalesce(images.pred_name, case images.pred when -1 then '(outside)' else images.pred::varchar end) as pred_name,
    coalesce(
        before.pred_name, case before.pred when -1 then '(outside)' else before.pred::varchar end
    ) as before_name,
    images.confidence,
    images.uri,
    images.width_px,
    images.height_px,
from _flips
inner join {{ ident(run) }} as images on _flips.image_id = images.image_id
inner join {{ ident(baseline) }} as before on _flips.image_id = before.image_id
qualify row_number() over (
    partition by _flips.won
    order by case when not isnan(images.confidence) then images.confidence end desc nulls last, images.image_id
) <= $max_images
order by
    _flips.won,
    case when not isnan(images.confidence) then images.confidence end desc nulls last,
    images.image_id;
