"""Confusions, scores per class and their averages, headline numbers, mistakes, soundness of a run."""

from __future__ import annotations

from typing import Any

import duckdb
import numpy as np
import pytest
import torch
import torchmetrics.functional.classification as tm
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics as sk

from ..support.edge_cases import Case, duplicate, load
from ..support.oracle import CASES, Mutant, is_noticed, on_cases, quietly, rows, same


def test_confusion_matrix(shared: duckdb.DuckDBPyConnection, example: Case) -> None:
    actual = rows(shared, f"from confusion_matrix('{load(shared, example)}')")
    labels = sorted({*example.y.tolist(), *example.p.tolist()})
    expected = quietly(sk.confusion_matrix, example.y, example.p, labels=labels) if labels else np.zeros((0, 0))
    wanted = [(a, b, expected[i, j]) for i, a in enumerate(labels) for j, b in enumerate(labels) if expected[i, j]]
    assert [(row["label"], row["pred"], row["n"]) for row in actual] == wanted
    assert {row["run"] for row in actual} <= {"run_a"}


def test_confusion_dense(shared: duckdb.DuckDBPyConnection, example: Case) -> None:
    table = load(shared, example)
    size = max([*example.y, *example.p, -1]) + 1
    for asked in (0, 12):
        actual = rows(shared, f"from confusion_dense('{table}', n_classes := {asked})")
        labels = list(range(max(asked, size)))
        preds = [-1, *labels] if -1 in example.p else labels
        assert [(row["label"], row["pred"]) for row in actual] == [(a, b) for a in labels for b in preds]
        if not len(example.y):
            assert all(row["n"] == 0 and row["recall_share"] is None for row in actual)
            continue
        for normalize, column in ((None, "n"), ("true", "recall_share"), ("pred", "precision_share")):
            expected = quietly(sk.confusion_matrix, example.y, example.p, labels=[-1, *labels], normalize=normalize)
            for row in actual:
                same(row[column] or 0.0, float(expected[row["label"] + 1, row["pred"] + 1]))


def test_top_confusions(shared: duckdb.DuckDBPyConnection, example: Case) -> None:
    actual = rows(shared, f"from top_confusions('{load(shared, example)}', max_rows := 5)")
    pairs, counts = np.unique(np.stack([example.y, example.p], axis=1), axis=0, return_counts=True)
    cells = sorted((-int(n), int(a), int(b)) for (a, b), n in zip(pairs, counts, strict=True) if a != b)[:5]
    assert [(-row["n"], row["label"], row["pred"]) for row in actual] == cells
    for row in actual:
        same(row["share_of_label"], row["n"] / int((example.y == row["label"]).sum()))


def check_per_class(found: list[dict[str, Any]], y: np.ndarray, p: np.ndarray, zero: float) -> None:
    classes = [label for label in np.union1d(y, p).tolist() if label >= 0]
    assert [row["class"] for row in found] == classes
    if not classes:
        return
    expected = quietly(sk.precision_recall_fscore_support, y, p, labels=classes, average=None, zero_division=zero)
    jaccard = quietly(sk.jaccard_score, y, p, labels=classes, average=None, zero_division=0)
    for row, precision, recall, f1, support, index in zip(found, *expected, jaccard, strict=True):
        same(row["precision"], precision)
        same(row["recall"], recall)
        same(row["f1"], f1)
        same(row["jaccard"], index)
        assert row["support"] == support
        assert row["predicted"] == (p == row["class"]).sum()
        assert row["tp"] == ((p == row["class"]) & (y == row["class"])).sum()


@pytest.mark.parametrize(("sql", "zero"), [("0.0", 0.0), ("1.0", 1.0), ("null", np.nan)], ids=["0", "1", "null"])
def test_per_class(shared: duckdb.DuckDBPyConnection, example: Case, sql: str, zero: float) -> None:
    level, given = (0.95, "") if zero == 0 else (0.8, ", level := 0.8")
    actual = rows(shared, f"from per_class('{load(shared, example)}', zero_division := {sql}{given})")
    check_per_class(actual, example.y, example.p, zero)
    for row in actual:
        union = row["support"] + row["predicted"] - row["tp"]
        for name, n in (("recall", row["support"]), ("precision", row["predicted"]), ("f1", union)):
            if n == 0:
                assert (row[f"{name}_low"], row[f"{name}_high"]) == (None, None)
                continue
            ends = stats.binomtest(row["tp"], n).proportion_ci(level, method="wilson")
            low, high = (2 * end / (1 + end) if name == "f1" else end for end in ends)
            same(row[f"{name}_low"], low)
            same(row[f"{name}_high"], high)
            if row[name] is not None and not np.isnan(row[name]):
                assert low - 1e-12 <= row[name] <= high + 1e-12


def sk_scores(y: np.ndarray, p: np.ndarray, zero: float = 0.0) -> dict[str, float]:
    """All of `scores`, from scikit-learn."""
    classes = [label for label in np.union1d(y, p).tolist() if label >= 0]
    actual = {"n": len(y), "accuracy": sk.accuracy_score(y, p), "balanced_accuracy": sk.balanced_accuracy_score(y, p)}
    kwargs = {"labels": classes, "zero_division": zero}
    for average in ("macro", "weighted"):
        for name, function in (("precision", sk.precision_score), ("recall", sk.recall_score), ("f1", sk.f1_score)):
            actual[f"{name}_{average}"] = function(y, p, average=average, **kwargs)
    actual["jaccard_macro"] = sk.jaccard_score(y, p, average="macro", labels=classes, zero_division=0)
    actual["f1_micro"] = sk.f1_score(y, p, average="micro", **kwargs)
    actual["cohen_kappa"] = sk.cohen_kappa_score(y, p)
    actual["mcc"] = sk.matthews_corrcoef(y, p)
    return actual


@pytest.mark.parametrize(("sql", "zero"), [("0.0", 0.0), ("1.0", 1.0), ("null", np.nan)], ids=["0", "1", "null"])
def test_scores(shared: duckdb.DuckDBPyConnection, example: Case, sql: str, zero: float) -> None:
    (actual,) = rows(shared, f"from scores('{load(shared, example)}', zero_division := {sql})")
    assert actual.pop("run") == "run_a"
    if not len(example.y):
        assert actual.pop("n") == 0
        assert set(actual.values()) == {None}
        return
    expected = quietly(sk_scores, example.y, example.p, zero)
    assert actual.keys() == expected.keys()
    for name, value in expected.items():
        same(actual[name], value)


@pytest.mark.parametrize("name", ["ten", "hundred", "digits"])
def test_scores_of_torchmetrics(shared: duckdb.DuckDBPyConnection, digits: Case, name: str) -> None:
    example = digits if name == "digits" else CASES[name]
    (actual,) = rows(shared, f"from scores('{load(shared, example)}')")
    p, y, classes = torch.tensor(example.p), torch.tensor(example.y), example.proba.shape[1]
    for metric, function, kwargs in [
        ("accuracy", tm.multiclass_accuracy, {"average": "micro"}),
        ("f1_macro", tm.multiclass_f1_score, {"average": "macro"}),
        ("precision_weighted", tm.multiclass_precision, {"average": "weighted"}),
        ("jaccard_macro", tm.multiclass_jaccard_index, {"average": "macro"}),
        ("cohen_kappa", tm.multiclass_cohen_kappa, {}),
        ("mcc", tm.multiclass_matthews_corrcoef, {}),
    ]:
        same(actual[metric], float(function(p, y, classes, **kwargs)), 1e-6)


def test_scores_by(shared: duckdb.DuckDBPyConnection, example: Case) -> None:
    actual = {row.pop("slice"): row for row in rows(shared, f"from scores_by('{load(shared, example)}', image_id % 3)")}
    slices = np.array(example.kept) % 3
    assert actual.keys() == set(slices.tolist())
    for key, row in actual.items():
        y, p = example.y[slices == key], example.p[slices == key]
        expected = quietly(sk_scores, y, p)
        interval = stats.binomtest(int((y == p).sum()), len(y)).proportion_ci(0.95, method="wilson")
        same(row.pop("ci_low"), interval.low)
        same(row.pop("ci_high"), interval.high)
        assert row.pop("run") == "run_a"
        for name, value in row.items():
            same(value, expected[name])


def test_summary(shared: duckdb.DuckDBPyConnection, example: Case) -> None:
    name = load(shared, example)
    actual = {row["metric"]: row["value"] for row in rows(shared, f"from summary('{name}')")}
    (scores,) = rows(shared, f"from scores('{name}')")
    (accuracy,) = rows(shared, f"from accuracy('{name}')")
    confidence = float(np.mean(example.c, dtype=np.float64)) if len(example.y) else None
    for metric, value in {**scores, **accuracy, "mean_confidence": confidence}.items():
        if metric != "run":
            same(actual[metric], value)
    assert actual["n_wrong"] == actual["n"] - actual["correct"]
    (errors,) = rows(shared, f"from calibration_error('{name}')")
    (losses,) = rows(shared, f"from proper_scores('{name}')")
    (five,) = rows(shared, f"from topk_accuracy('{name}', ks := [5])")
    few = all(len(row) <= 5 for row in example.probs)
    same(actual["top5_accuracy"], None if few else five["accuracy"])
    same(actual["ece"], errors["ece"])
    same(actual["log_loss"], losses["log_loss"])
    same(actual["brier"], losses["brier"])


def test_summary_without_probabilities(con: duckdb.DuckDBPyConnection) -> None:
    con.execute(
        "create table bare as select i as image_id, i % 3 as label, i % 2 as pred from range(60) t(i)"
    ).fetchall()
    actual = {row["metric"]: row["value"] for row in rows(con, "from summary('bare')")}
    assert actual["accuracy"] == pytest.approx(1 / 3)
    assert [name for name, value in actual.items() if value is None] == [
        "mean_confidence", "top5_accuracy", "ece", "log_loss", "brier"
    ]  # fmt: skip


def test_worst_mistakes(shared: duckdb.DuckDBPyConnection, example: Case) -> None:
    actual = rows(shared, f"from worst_mistakes('{load(shared, example)}', max_rows := 7)")
    wrong = [row for row in example.kept if example.label[row] != example.pred[row]]

    def rank(row: int) -> tuple[bool, float, float, int]:
        confidence = np.float32(example.confidence[row])
        p_label = np.float32(example.probs[row][example.label[row]])
        return (bool(np.isnan(confidence)), -float(confidence), float(p_label), row)

    assert [row["image_id"] for row in actual] == sorted(wrong, key=rank)[:7]
    for row in actual:
        same(row["p_label"], float(np.float32(example.probs[row["image_id"]][row["label"]])))


def test_check_run(shared: duckdb.DuckDBPyConnection) -> None:
    good = rows(shared, f"from check_run('{load(shared, CASES['ten'])}')")[0]
    assert good.pop("n") == 2000
    assert good.pop("run") == "run_a"
    assert set(good.values()) == {0}
    nan = float("nan")
    bad = Case(
        [0, None, 1, 0, 5, 1, 0, 0, 1, 0],
        [0, 1, None, -1, 0, 0, 1, 0, 0, 0],
        [[0.9, 0.1], [0.2, 0.8], None, [0.6, 0.4], [0.7, 0.3], [nan, 0.5], [0.7, 0.3], [1.5, -0.5], [0.3, 0.3], [1.0]],
        [0.9, 0.8, None, 0.6, 0.7, 0.5, 0.3, 1.5, 0.3, 0.4],
    )
    (actual,) = rows(shared, f"from check_run('{load(shared, bad)}')")
    assert actual == {
        "run": "run_a",
        "n": 10,
        "duplicate_images": 0,
        "no_label": 1,
        "no_prediction": 1,
        "outside_classes": 1,
        "no_probs": 1,
        "other_length": 1,
        "label_out_of_range": 1,
        "nan_probs": 1,
        "outside_0_1": 1,
        "sum_not_1": 1,
        "pred_not_argmax": 1,
        "confidence_differs": 1,
        "no_confidence": 1,
    }
    (empty,) = rows(shared, f"from check_run('{load(shared, CASES['empty'])}')")
    assert empty.pop("run") == "run_a"
    assert set(empty.values()) == {0}


@pytest.mark.parametrize("column", ["FLOAT[]", "FLOAT[4]"])
def test_ties_are_no_fault(shared: duckdb.DuckDBPyConnection, column: str) -> None:
    """numpy: probs[pred] against the largest, by more than the tolerance; a prediction beyond the classes is outside."""
    rng = np.random.default_rng(6)
    probs = rng.choice([0.1, 0.2, 0.4], (400, 4))
    probs = (probs / probs.sum(axis=1, keepdims=True)).round(3)  # rounded as what an archive holds
    pred = rng.integers(0, 4, 400)
    largest = probs.max(axis=1)
    name = load(shared, Case([0] * 400, pred.tolist(), probs.tolist(), largest.tolist()), column=column)
    for tolerance in (1e-3, 0.15, 1.0):
        (actual,) = rows(shared, f"from check_run('{name}', tolerance := {tolerance})")
        assert actual["pred_not_argmax"] == (largest - probs[range(400), pred] > tolerance).sum()
        assert actual["outside_classes"] == 0
    beyond = load(shared, Case([0] * 3, [4, 99, 3], [[0.25] * 4] * 3, [0.25] * 3), column=column)
    (actual,) = rows(shared, f"from check_run('{beyond}')")
    assert actual["outside_classes"] == 2
    assert actual["pred_not_argmax"] == 2


def test_check_run_of_answers_without_probabilities(shared: duckdb.DuckDBPyConnection) -> None:
    name = load(shared, CASES["ten"])
    shared.execute(f"create or replace view bare as select image_id, label, pred from {name}").fetchall()
    (actual,) = rows(shared, "from check_run('bare')")
    assert {column: n for column, n in actual.items() if n} == {
        "n": 2000, "no_probs": 2000, "no_confidence": 2000, "run": "bare",
    }  # fmt: skip


def test_an_image_that_is_there_twice_is_counted_or_refused(shared: duckdb.DuckDBPyConnection) -> None:
    name = load(shared, duplicate(CASES["ties"]))
    shared.execute(f"update {name} set image_id = image_id % 5").fetchall()
    assert rows(shared, f"from check_run('{name}')")[0]["duplicate_images"] == 5
    with pytest.raises(duckdb.Error, match="5 of 10 rows repeat an image_id"):
        rows(shared, f"select n from accuracy('{name}')")


labels = st.lists(
    st.tuples(st.one_of(st.none(), st.integers(0, 4)), st.one_of(st.none(), st.integers(-1, 4))), max_size=12
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(labels)
def test_generated_tables(shared: duckdb.DuckDBPyConnection, pairs: list[tuple[int | None, int | None]]) -> None:
    example = Case([a for a, _ in pairs], [b for _, b in pairs], [[1.0]] * len(pairs), [1.0] * len(pairs))
    name = load(shared, example, "generated")
    (actual,) = rows(shared, f"from accuracy('{name}')")
    assert (actual["n"], actual["correct"]) == (len(example.y), int((example.y == example.p).sum()))
    check_per_class(rows(shared, f"from per_class('{name}')"), example.y, example.p, 0.0)
    cells = {(row["label"], row["pred"]): row["n"] for row in rows(shared, f"from confusion_matrix('{name}')")}
    assert sum(cells.values()) == len(example.y)
    if len(example.y):
        expected = quietly(sk_scores, example.y, example.p)
        (scores,) = rows(shared, f"from scores('{name}')")
        for metric, value in expected.items():
            same(scores[metric], value)
        seen = sorted({*example.y.tolist(), *example.p.tolist()})
        matrix = quietly(sk.confusion_matrix, example.y, example.p, labels=seen)
        assert all(cells.get((a, b), 0) == matrix[i, j] for i, a in enumerate(seen) for j, b in enumerate(seen))


# What must be noticed: a macro, a text in its file, what stands there instead, and a check that must fail then.
MUTANTS = [
    Mutant("per_class", "where class >= 0", "where true", on_cases(test_per_class, "0.0", 0.0)),
    Mutant(
        "_class_scores",
        "2 * tp / nullif(support + predicted, 0)",
        "tp / nullif(support + predicted, 0)",
        on_cases(test_per_class, "0.0", 0.0),
    ),
    Mutant(
        "scores",
        "filter (where support > 0 and class >= 0) as balanced_accuracy",
        "as balanced_accuracy",
        on_cases(test_scores, "0.0", 0.0),
    ),
    Mutant(
        "_class_scores", "greatest(pred, -1) as class", "greatest(pred, 0) as class", on_cases(test_scores, "0.0", 0.0)
    ),
    Mutant("_margin_scores", "filter (where class >= 0) as f1_macro", "as f1_macro", on_cases(test_scores_by)),
]


@pytest.mark.parametrize("mutant", MUTANTS, ids=[f"{mutant.name}-{number}" for number, mutant in enumerate(MUTANTS)])
def test_a_mutant_is_noticed(con: duckdb.DuckDBPyConnection, mutant: Mutant) -> None:
    assert is_noticed(con, mutant)
