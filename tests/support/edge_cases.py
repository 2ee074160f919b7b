"""Relations where metrics go wrong: every edge that has bitten a library, as small tables.

Each case is a table of the contract columns. `kept` says which rows count: those with a label and a prediction.
"""

from __future__ import annotations

from dataclasses import dataclass

import duckdb
import numpy as np
import pyarrow as pa

NAN = float("nan")


@dataclass(frozen=True)
class Case:
    """One table: labels and predictions (None is NULL), confidences, probabilities."""

    label: list[int | None]
    pred: list[int | None]
    probs: list[list[float] | None]
    confidence: list[float | None]

    @property
    def kept(self) -> list[int]:
        return [row for row, (a, b) in enumerate(zip(self.label, self.pred, strict=True)) if None not in (a, b)]

    @property
    def y(self) -> np.ndarray:
        return np.array([self.label[row] for row in self.kept], dtype=np.int64)

    @property
    def p(self) -> np.ndarray:
        return np.array([self.pred[row] for row in self.kept], dtype=np.int64)

    @property
    def proba(self) -> np.ndarray:
        return np.array([self.probs[row] for row in self.kept], dtype=np.float32)

    @property
    def c(self) -> np.ndarray:
        return np.array([self.confidence[row] for row in self.kept], dtype=np.float32)

    @property
    def classes(self) -> np.ndarray:
        """Classes among labels or predictions; -1 is none."""
        both = np.union1d(self.y, self.p)
        return both[both >= 0]


def case(label: list[int | None], probs: list[list[float]], pred: list[int | None] | None = None) -> Case:
    """A case whose prediction is the argmax and whose confidence is its probability, unless `pred` says otherwise."""
    actual = [int(np.argmax(row)) for row in probs] if pred is None else pred
    confidence = [None if each is None else float(np.max(row)) for each, row in zip(actual, probs, strict=True)]
    return Case(label, actual, list(probs), confidence)


def random_case(n: int, classes: int, seed: int, signal: float = 1.5) -> Case:
    """A plausible classifier: float32 softmax probabilities that know something about the label."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, classes, n)
    logits = rng.normal(size=(n, classes))
    logits[np.arange(n), label] += signal
    probs = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return case(label.tolist(), probs.astype(np.float32).tolist())


def digits_case() -> Case:
    """scikit-learn's digits, predicted out of fold by a logistic regression."""
    from sklearn.datasets import load_digits
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_predict

    images, labels = load_digits(return_X_y=True)
    model = LogisticRegression(max_iter=200)
    probs = cross_val_predict(model, images / 16.0, labels, cv=3, method="predict_proba")
    return case(labels.tolist(), probs.astype(np.float32).tolist())


EDGES = {
    "absent_class": case(
        [0, 1, 3, 3], [[0.7, 0.1, 0.1, 0.1], [0.2, 0.6, 0.1, 0.1], [0.1, 0.1, 0.1, 0.7], [0.9, 0.1, 0, 0]]
    ),
    "one_class": case([0, 0, 0], [[0.9, 0.1], [0.8, 0.2], [0.7, 0.3]]),
    "all_wrong": case([1, 1, 0], [[0.9, 0.1], [0.8, 0.2], [0.3, 0.7]]),
    "ties": case(
        [0, 1, 2, 1, 2], [[0.5, 0.5, 0], [0.5, 0.5, 0], [0.25, 0.25, 0.5], [0.25, 0.5, 0.25], [0.25, 0.25, 0.25]]
    ),
    "certain": case([0, 1, 1], [[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]]),
    "p_zero": case([2, 0, 1], [[0.5, 0.5, 0.0], [1.0, 0.0, 0.0], [0.4, 0.6, 0.0]]),
    "null_label": case([None, 1, None, 0], [[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.3, 0.7]]),
    "null_pred": case([0, 1, 1], [[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]], pred=[0, None, 0]),
    "outside": case([0, 1, 1, 0], [[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.7, 0.3]], pred=[0, -1, 0, -1]),
    "all_outside": case([0, 1], [[0.9, 0.1], [0.2, 0.8]], pred=[-1, -1]),
    "nan": Case([0, 1, 1], [0, 1, 0], [[0.9, 0.1], [NAN, NAN], [0.6, 0.4]], [0.9, NAN, 0.6]),
    "only_predicted": case([0, 1, 1, 0], [[0.7, 0.1, 0.2], [0.2, 0.1, 0.7], [0.1, 0.8, 0.1], [0.6, 0.3, 0.1]]),
    "some_outside": case(
        [0, 1, 2, 0, 1, 2, 0, 1],
        [[0.6, 0.3, 0.1], [0.2, 0.7, 0.1], [0.1, 0.2, 0.7], [0.8, 0.1, 0.1]] * 2,
        pred=[0, 1, 2, -1, 1, -1, None, None],
    ),
    "one_row": case([1], [[0.25, 0.75]]),
    "empty": Case([], [], [], []),
}


# A second run on the same images, right on every third and elsewhere one class further than the first.
OTHER = (
    "with second_run as (select * replace (case when image_id % 3 = 0 then label else (pred + 1) % 3 end as pred) "
    "from query_table('{0}'))"
)
# Three more runs beside the second, for two runs and two baselines.
SEEDS = (
    OTHER + ", third_run as (select * replace ((label + image_id % 2) % 3 as pred) from query_table('{0}')), "
    "fourth_run as (select * replace ((pred + image_id % 2) % 3 as pred) from query_table('{0}'))"
)
# A cost of every mistake among a hundred classes, and a tree of them.
COSTS = (
    "with my_costs as (select _a.i as label, _b.i as pred, abs(_a.i - _b.i) as cost "
    "from range(-1, 100) as _a (i), range(-1, 100) as _b (i))"
)
TREE = (
    "with my_tree as (select i as class, 100 + i // 3 as parent from range(100) as _r (i) "
    "union all select 100 + i, 200 + i % 2 from range(34) as _r (i) union all select 200 + i, 300 from range(2) as _r (i))"
)
# One call of every public macro that gives rows; {0} is the relation.
CALLS = {
    "accuracy": "accuracy('{0}')",
    "accuracy_accepted": "accuracy_accepted('{0}')",
    "accuracy_anytime": "accuracy_anytime('{0}')",
    "accuracy_by": "accuracy_by('{0}', image_id % 3)",
    "agreement": f"({OTHER} from agreement('second_run', '{{0}}'))",
    "at_threshold": "at_threshold('{0}', 0.6)",
    "auc": "auc('{0}')",
    "auc_ci": "auc_ci('{0}')",
    "auc_per_class": "auc_per_class('{0}')",
    "bootstrap_ci": "bootstrap_ci('{0}', n_resamples := 50)",
    "calibration_curve": "calibration_curve('{0}', strategy := 'quantile')",
    "calibration_error": "calibration_error('{0}')",
    "calibration_error_per_class": "calibration_error_per_class('{0}')",
    "check_run": "check_run('{0}')",
    "class_purity": "class_purity('{0}', '{0}')",
    "compare_classes": f"({OTHER} from compare_classes('second_run', '{{0}}'))",
    "compare_many": f"({SEEDS} from compare_many(['second_run', 'third_run'], '{{0}}'))",
    "compare_seeds": f"({SEEDS} from compare_seeds(['second_run', 'third_run'], ['{{0}}', 'fourth_run']))",
    "confident_joint": "confident_joint('{0}')",
    "confident_thresholds": "confident_thresholds('{0}')",
    "confusion_dense": "confusion_dense('{0}')",
    "confusion_matrix": "confusion_matrix('{0}')",
    "cost": f"({COSTS} from cost('{{0}}', 'my_costs'))",
    "drift": "drift('{0}', '{0}')",
    "duplicate_groups": "duplicate_groups('{0}', max_distance := 0.5)",
    "fit_temperature": "fit_temperature('{0}')",
    "flips": f"({OTHER} from flips('second_run', '{{0}}'))",
    "hierarchical_distance": f"({TREE} from hierarchical_distance('{{0}}', 'my_tree'))",
    "hierarchy": f"({TREE} from hierarchy('{{0}}', 'my_tree'))",
    "knn_graph": "(from knn_graph('{0}', k := 2) where image_id < 5)",
    "knn_outliers": "knn_outliers('{0}')",
    "ks_test": "ks_test('{0}', '{0}', confidence)",
    "leaderboard": "leaderboard('{0}')",
    "label_issues": "label_issues('{0}')",
    "label_quality": "label_quality('{0}')",
    "largest_gap": "largest_gap('{0}', image_id % 3, min_n := 1)",
    "leaks": "leaks('{0}', '{0}', max_distance := 0.5)",
    "mcnemar": f"({OTHER} from mcnemar('second_run', '{{0}}'))",
    "mcnemar_anytime": f"({OTHER} from mcnemar_anytime('second_run', '{{0}}'))",
    "metric_by": "metric_by('{0}', 'accuracy', image_id % 3)",
    "mmd": "mmd('{0}', '{0}', sample_n := 50)",
    "near_duplicates": "near_duplicates('{0}', max_distance := 0.5)",
    "neighbor_agreement": "neighbor_agreement('{0}', '{0}')",
    "paired": f"({OTHER} from paired('second_run', '{{0}}') order by all)",
    "paired_bootstrap": f"({OTHER} from paired_bootstrap('second_run', '{{0}}', n_resamples := 20))",
    "per_class": "per_class('{0}')",
    "pr_curve": "pr_curve('{0}', 1)",
    "predictive_entropy": "predictive_entropy('{0}')",
    "proper_scores": "proper_scores('{0}')",
    "psi_category": "psi_category('{0}', '{0}', pred)",
    "psi_numeric": "psi_numeric('{0}', '{0}', confidence)",
    "risk_coverage": "risk_coverage('{0}')",
    "scores": "scores('{0}')",
    "scores_by": "scores_by('{0}', image_id % 3)",
    "selective_risk": "selective_risk('{0}', target_accuracy := 0.8)",
    "similar_to": "similar_to('{0}', 1)",
    "slice_pairs": "slice_pairs('{0}', ['label', 'neighbor_id', 'rank'], min_n := 1)",
    "slices": "slices('{0}', ['label', 'neighbor_id'], min_n := 1)",
    "summary": "summary('{0}')",
    "threshold_for": "threshold_for('{0}', target_accuracy := 0.5, level := 0.5)",
    "top_confusions": "top_confusions('{0}')",
    "topk_accuracy": "topk_accuracy('{0}')",
    # What follows the names of the relations in the sentence.
    "verdict": f"({OTHER} select * replace (regexp_extract(sentence, '(by|not est|nothing).*') as sentence) "
    "from verdict('second_run', '{0}'))",
    "weighted_accuracy": "weighted_accuracy('{0}', 1 + image_id % 3)",
    "with_temperature": "(from with_temperature('{0}', 1.5) order by image_id)",
    "worst_mistakes": "worst_mistakes('{0}')",
    "worst_slices": "worst_slices('{0}', ['confidence', 'label', 'neighbor_id'], min_n := 1, alpha := 0.9)",
}
# The macros that read one relation, or each of a list; the others join two.
ONE_RELATION = [name for name, call in CALLS.items() if call.count("{0}") == 1 and not call.startswith(f"({OTHER}")]
# The public scalars, and calls that give rows and are internal but must not depend on the order of rows either.
SCALAR_CALLS = {
    "argmax": "argmax([0.25, 0.5, 0.5])",
    "bucket": "bucket(37, 10)",
    "label_rank": "label_rank([0.25, 0.5, 0.5], 2)",
    "needed_n": "needed_n(0.76, 0.01)",
    "wilson_high": "wilson_high(7, 9, 0.95)",
    "wilson_low": "wilson_low(7, 9, 0.95)",
}
INTERNAL_CALLS = {
    "_bootstrap_replicates": "(select * exclude (run) from _bootstrap_replicates('{0}', n_resamples := 20))",
    "_coverage_steps": "(select * exclude (run) from _coverage_steps('{0}') order by all)",
    "_log_margins": "(select * exclude (run) from _log_margins('{0}') order by all)",
    "_slice_members": "(select image_id, is_wrong, cells from _slice_members('{0}', ['confidence', 'rank'], 4) order by all)",
}


def load(
    con: duckdb.DuckDBPyConnection, case: Case, name: str = "run_a", column: str = "FLOAT[]", order: int = 0
) -> str:
    """Create table `name` from a case; `column` is the type of probs, `order` shuffles the rows when not 0.

    The table is its own neighbors too: each image has the next one (of seven) as its neighbor.
    """
    rows = pa.table(
        {
            "image_id": pa.array(range(len(case.label)), pa.int64()),
            "label": pa.array(case.label, pa.int32()),
            "pred": pa.array(case.pred, pa.int32()),
            "confidence": pa.array(case.confidence, pa.float32()),
            "probs": pa.array(case.probs, pa.list_(pa.float32())),
        }
    )
    if order:
        rows = rows.take(np.random.default_rng(order).permutation(len(rows)))
    con.register("_case_rows", rows)
    con.execute(
        f'create or replace table "{name}" as '
        f"select image_id, label, pred, confidence, probs::{column} as probs, probs as activation, "
        "confidence as x, label as y, ['train', 'test'][1 + image_id % 2] as split, (image_id + 1) % 7 as neighbor_id, 1 + image_id % 3 as rank, "
        "confidence / 2 as distance, case image_id % 3 when 1 then [] when 2 then [label, 1] end::integer[] as accepted "
        "from _case_rows"
    ).fetchall()
    con.unregister("_case_rows")
    return name


def duplicate(case: Case) -> Case:
    """The same rows twice: duplicate images."""
    return Case(case.label * 2, case.pred * 2, case.probs * 2, case.confidence * 2)
