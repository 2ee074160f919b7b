"""What is computed from all class probabilities: proper scores, entropy, ranking, curves."""

from __future__ import annotations

import math

import duckdb
import numpy as np
import pytest
import torch
import torchmetrics.functional.classification as tm
from scipy import special
from sklearn import metrics as sk

from ..support.edge_cases import Case, load
from ..support.oracle import (
    CASES,
    has_nan,
    quietly,
    rows,
    same,
)


def test_proper_scores(shared: duckdb.DuckDBPyConnection, example: Case) -> None:
    (found,) = rows(shared, f"from proper_scores('{load(shared, example)}')")
    n = len(example.y)
    assert found["n"] == n
    if not n:
        assert found["log_loss"] is None
        return
    proba = example.proba.astype(np.float64)
    p_label = proba[np.arange(n), example.y]
    eps = float(np.finfo(np.float32).eps)
    same(found["log_loss"], float(np.mean(-np.log(np.clip(p_label, eps, 1 - eps)))), 1e-8)
    onehot = np.eye(proba.shape[1])[example.y]
    same(found["brier"], float(((proba - onehot) ** 2).sum(axis=1).mean()))
    same(found["mean_p_label"], float(p_label.mean()))
    same(found["mean_confidence"], float(example.c.mean(dtype=np.float64)))
    same(found["accuracy"], float((example.y == example.p).mean()))


@pytest.mark.parametrize("name", ["binary", "ten", "hundred", "digits", "certain", "p_zero"])
def test_proper_scores_of_sklearn(shared: duckdb.DuckDBPyConnection, digits: Case, name: str) -> None:
    example = digits if name == "digits" else CASES[name]
    (found,) = rows(shared, f"from proper_scores('{load(shared, example)}')")
    labels = list(range(example.proba.shape[1]))
    same(found["log_loss"], float(quietly(sk.log_loss, example.y, example.proba, labels=labels)), 1e-6)
    brier = quietly(sk.brier_score_loss, example.y, example.proba, labels=labels, scale_by_half=False)
    same(found["brier"], float(brier), 1e-7)


def test_auc(shared: duckdb.DuckDBPyConnection, example: Case) -> None:
    name = load(shared, example)
    (found,) = rows(shared, f"from auc('{name}')")
    per_class = rows(shared, f"from auc_per_class('{name}')")
    if not len(example.y) or has_nan(example):
        assert found["roc_auc_macro"] is None or math.isnan(found["roc_auc_macro"])
        return
    aucs, precisions, weights = [], [], []
    assert [row["class"] for row in per_class] == list(range(example.proba.shape[1]))
    for row in per_class:
        truth, score = example.y == row["class"], example.proba[:, row["class"]]
        assert row["positives"] == truth.sum()
        auc = sk.roc_auc_score(truth, score) if 0 < truth.sum() < len(truth) else None
        precision = sk.average_precision_score(truth, score) if truth.any() else None
        same(row["roc_auc"], auc)
        same(row["average_precision"], precision)
        if truth.any():
            aucs.append(math.nan if auc is None else auc)
            precisions.append(precision)
            weights.append(truth.sum())
    assert (found["classes"], found["n"]) == (len(weights), sum(weights))
    same(found["map_macro"], float(np.mean(precisions)))
    same(found["map_weighted"], float(np.average(precisions, weights=weights)))
    if not np.isnan(aucs).any():
        same(found["roc_auc_macro"], float(np.mean(aucs)))
        same(found["roc_auc_weighted"], float(np.average(aucs, weights=weights)))


@pytest.mark.parametrize("name", ["ten", "digits"])
def test_auc_of_torchmetrics(shared: duckdb.DuckDBPyConnection, digits: Case, name: str) -> None:
    example = digits if name == "digits" else CASES[name]
    (found,) = rows(shared, f"from auc('{load(shared, example)}')")
    probs, y = torch.tensor(example.proba), torch.tensor(example.y)
    same(found["roc_auc_macro"], float(tm.multiclass_auroc(probs, y, 10)), 1e-6)
    same(found["map_weighted"], float(tm.multiclass_average_precision(probs, y, 10, average="weighted")), 1e-6)


def test_pr_curve(shared: duckdb.DuckDBPyConnection, example: Case) -> None:
    name = load(shared, example)
    found = rows(shared, f"from pr_curve('{name}', 1, max_points := 0)")
    if not len(example.y) or example.proba.shape[1] < 2:
        assert not found
        return
    kept = ~np.isnan(example.proba[:, 1])
    truth, score = example.y[kept] == 1, example.proba[kept, 1]
    thresholds = np.unique(score)[::-1]
    assert [row["threshold"] for row in found] == thresholds.tolist()
    for row in found:
        called = score >= row["threshold"]
        assert row["called"] == called.sum()
        same(row["precision"], float(truth[called].mean()))
        same(row["recall"], float(called[truth].mean()) if truth.any() else None)
        same(row["fpr"], float(called[~truth].mean()) if not truth.all() else None)
    few = rows(shared, f"from pr_curve('{name}', 1, max_points := 20)")
    assert len(few) <= 21
    assert [few[0], few[-1]] == [found[0], found[-1]]
    assert all(row in found for row in few)


def test_pr_curve_of_sklearn(shared: duckdb.DuckDBPyConnection, digits: Case) -> None:
    found = rows(shared, f"from pr_curve('{load(shared, digits)}', 3, max_points := 0)")
    precision, recall, thresholds = sk.precision_recall_curve(digits.y == 3, digits.proba[:, 3])
    assert np.allclose([row["threshold"] for row in found][::-1], thresholds, atol=0)
    assert np.allclose([row["precision"] for row in found][::-1], precision[:-1], atol=1e-15)
    assert np.allclose([row["recall"] for row in found][::-1], recall[:-1], atol=1e-15)
    fpr = sk.roc_curve(digits.y == 3, digits.proba[:, 3], drop_intermediate=False)[0]
    assert np.allclose([row["fpr"] for row in found], fpr[1:], atol=1e-15)


def test_predictive_entropy(shared: duckdb.DuckDBPyConnection, example: Case) -> None:
    (found,) = rows(shared, f"from predictive_entropy('{load(shared, example)}')")
    assert found["n"] == len(example.y)
    if not len(example.y):
        assert found["mean_entropy"] is None
        return
    entropy, right = special.entr(example.proba.astype(np.float64)).sum(axis=1), example.y == example.p
    for column, chosen in (
        ("mean_entropy", right | True),
        ("mean_entropy_right", right),
        ("mean_entropy_wrong", ~right),
    ):
        same(found[column], float(entropy[chosen].mean()) if chosen.any() else None)
