-- Accuracy of several runs, each with its 95 % Wilson interval.
-- Grain: one row per run.
-- Parameters: runs
-- Edges: every run counts its own labelled images; that intervals overlap is no paired test.
-- Source: macros accuracy and scores
{% for run in runs %}
select
    {{ literal(run) }} as run,
    accuracy.n,
    accuracy.correct,
    accuracy.accuracy,
    accuracy.ci_low,
    accuracy.ci_high,
    scores.balanced_accuracy,
    scores.f1_macro,
from accuracy({{ literal(run) }}) as accuracy
cross join scores({{ literal(run) }}) as scores
{% if not loop.last %}
union all
{% endif %}
{% endfor %};
