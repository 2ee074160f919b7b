-- Queries for an evaluation file, in the plain DuckDB shell. Make the file first: sqlanalysis demo
--
--     duckdb demo/demo.duckdb < examples/shell.sql
--
-- or, inside the shell: .read examples/shell.sql
-- Every answer comes from tables, views and macros in the file; neither Python nor torch is needed.

-- What is in this file?
from help limit 20;

-- How good is a run? Accuracy with its 95 % interval; then with its 90 % interval.
from accuracy('digits_cnn');
from accuracy('digits_cnn', level := 0.9);

-- By slice: any expression over the columns of the run; several go into a struct.
from accuracy_by('digits_cnn', label_name);
from accuracy_by('digits_cnn', {'similar': label in (3, 8, 9), 'confident': confidence >= 0.9});

-- A filter is a common table expression: every metric takes its name.
with unsure as (from digits_cnn where confidence < 0.9)
from accuracy('unsure');

-- Two runs side by side: the view `predictions` stacks all of them.
from accuracy_by('predictions', run);
from scores_by('predictions', run);

-- Is one run better than the other on the same images? One sentence; then where their answers differ.
from verdict('digits_cnn', 'digits_mlp');
select
    cnn.correct as cnn_correct,
    mlp.correct as mlp_correct,
    count(*) as n,
from digits_cnn as cnn
join digits_mlp as mlp using (image_id)
group by all
order by all;

-- Per class: precision, recall with its interval, F1.
from per_class('digits_cnn');

-- Which classes are confused most often? With names from the view `class_names`.
from top_confusions('digits_mlp', max_rows := 5);
select
    labels.name as label_name,
    preds.name as pred_name,
    cells.n,
from confusion_matrix('digits_mlp') as cells
join class_names as labels on labels.run = 'digits_mlp' and labels.class = cells.label
join class_names as preds on preds.run = 'digits_mlp' and preds.class = cells.pred
where cells.label <> cells.pred
order by cells.n desc, label_name, pred_name
limit 5;

-- The most confident mistakes.
from worst_mistakes('digits_cnn', max_rows := 5);

-- All averages at once, and all headline numbers as rows.
from scores('digits_cnn');
from summary('digits_cnn');

-- Is the label among the k most probable classes?
from topk_accuracy('digits_cnn', ks := [1, 2, 3]);

-- A run is a view: image, label, prediction, probabilities, activation, x and y.
from (describe digits_cnn);
select
    image_id,
    label_name,
    pred_name,
    round(confidence, 3) as confidence,
    correct,
    round(x, 1) as x,
    round(y, 1) as y,
from digits_cnn
where not correct
limit 5;

-- How were these numbers made?
select
    run,
    model,
    weights_sha256[:12] as weights,
    layer,
    class_policy,
    selection,
    n_images,
    n_errors,
    seconds ->> 'total' as seconds,
from runs;

-- What could not be read or computed? (In the demo: nothing.)
select
    run,
    stage,
    error,
    count(*) as n,
from errors
group by all;

-- Which images are most similar to the most confident mistake? Nearest activations first.
with mistake as (
    from digits_cnn
    where not correct
    order by confidence desc
    limit 1
)
select
    others.image_id,
    others.label_name,
    others.pred_name,
    round(array_distance(others.activation, mistake.activation), 3) as distance,
from digits_cnn as others
cross join mistake
order by distance
limit 6;
