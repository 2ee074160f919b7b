"""What is computed from all class probabilities: proper scores, entropy, ranking, curves."""

from __future__ import annotations

import math

import duckdb
import numpy as np
import pyarrow as pa
import pytest
import torch
import torchmetrics.functional.classification as tm
from scipy import special, stats
from sklearn import metrics as sk

from sqlanalysis.db import templates

from ..support.edge_cases import EDGES, Case, case, load, random_case
from ..support.oracle import CASES, Check, Mutant, has_nan, is_noticed, on_cases, quietly, rows, same


def test_proper_scores(shared: duckdb.DuckDBPyConnection, example: Case) -> None:
    (actual,) = rows(shared, f"from proper_scores('{load(shared, example)}')")
    n = len(example.y)
    assert actual["n"] == n
    if not n:
        assert actual["log_loss"] is None
        return
    proba = example.proba.astype(np.float64)
    p_label = proba[np.arange(n), example.y]
    eps = float(np.finfo(np.float32).eps)
    same(actual["log_loss"], float(np.mean(-np.log(np.clip(p_label, eps, 1 - eps)))), 1e-8)
    onehot = np.eye(proba.shape[1])[example.y]
    same(actual["brier"], float(((proba - onehot) ** 2).sum(axis=1).mean()))
    same(actual["mean_p_label"], float(p_label.mean()))
    same(actual["mean_confidence"], float(example.c.mean(dtype=np.float64)))
    same(actual["accuracy"], float((example.y == example.p).mean()))


@pytest.mark.parametrize("name", ["binary", "ten", "hundred", "digits", "certain", "p_zero"])
def test_proper_scores_of_sklearn(shared: duckdb.DuckDBPyConnection, digits: Case, name: str) -> None:
    example = digits if name == "digits" else CASES[name]
    (actual,) = rows(shared, f"from proper_scores('{load(shared, example)}')")
    labels = list(range(example.proba.shape[1]))
    same(actual["log_loss"], float(quietly(sk.log_loss, example.y, example.proba, labels=labels)), 1e-6)
    brier = quietly(sk.brier_score_loss, example.y, example.proba, labels=labels, scale_by_half=False)
    same(actual["brier"], float(brier), 1e-7)


def test_auc(shared: duckdb.DuckDBPyConnection, example: Case) -> None:
    name = load(shared, example)
    (actual,) = rows(shared, f"from auc('{name}')")
    per_class = rows(shared, f"from auc_per_class('{name}')")
    if not len(example.y) or has_nan(example):
        assert actual["roc_auc_macro"] is None or math.isnan(actual["roc_auc_macro"])
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
    assert (actual["classes"], actual["n"]) == (len(weights), sum(weights))
    same(actual["map_macro"], float(np.mean(precisions)))
    same(actual["map_weighted"], float(np.average(precisions, weights=weights)))
    if not np.isnan(aucs).any():
        same(actual["roc_auc_macro"], float(np.mean(aucs)))
        same(actual["roc_auc_weighted"], float(np.average(aucs, weights=weights)))


def logit_interval(share: float, error: float) -> tuple[float, float]:
    half = stats.norm.ppf(0.95) * error / (share * (1 - share))
    return float(special.expit(special.logit(share) - half)), float(special.expit(special.logit(share) + half))


def delong(positives: np.ndarray, negatives: np.ndarray) -> tuple[float, float]:
    """The area and its standard error from every pair of a positive and a negative, as DeLong et al. write it."""
    wins = (positives[:, None] > negatives) + 0.5 * (positives[:, None] == negatives)
    of_positives, of_negatives = wins.mean(axis=1), wins.mean(axis=0)
    variance = of_positives.var(ddof=1) / len(positives) + of_negatives.var(ddof=1) / len(negatives)
    return float(wins.mean()), float(np.sqrt(variance))


@pytest.mark.parametrize("name", ["binary", "ten", "hundred", "digits", "rounded"])
def test_intervals_of_auc(shared: duckdb.DuckDBPyConnection, digits: Case, name: str) -> None:
    """DeLong from all pairs and Boyd's binomial interval, on the logit; `rounded` has many ties."""
    given = {**CASES, "digits": digits, "rounded": CASES["ten"]}[name]
    probs = np.round(given.probs, 1).tolist() if name == "rounded" else given.probs
    example = Case(given.label, given.pred, probs, given.confidence)
    checked = 0
    for row in rows(shared, f"from auc_per_class('{load(shared, example)}', level := 0.9)"):
        truth, score = example.y == row["class"], example.proba[:, row["class"]]
        precision = row["average_precision"]
        if 1 < truth.sum() < len(truth) - 1 and 0 < row["roc_auc"] < 1 and 0 < precision < 1:
            low, high = logit_interval(*delong(score[truth], score[~truth]))
            same(row["roc_auc_low"], low, 1e-9)
            same(row["roc_auc_high"], high, 1e-9)
            low, high = logit_interval(precision, float(np.sqrt(precision * (1 - precision) / truth.sum())))
            same(row["average_precision_low"], low, 1e-9)
            same(row["average_precision_high"], high, 1e-9)
            checked += 1
    assert checked


def test_no_interval_of_a_perfect_order(shared: duckdb.DuckDBPyConnection) -> None:
    example = case([0, 0, 1, 1], [[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.2, 0.8]])
    for row in rows(shared, f"from auc_per_class('{load(shared, example)}')"):
        assert row["roc_auc"] == row["average_precision"] == 1
        assert row["roc_auc_low"] is row["roc_auc_high"] is row["average_precision_low"] is None


@pytest.mark.parametrize("name", ["binary", "ten", "digits"])
def test_intervals_of_proper_scores(shared: duckdb.DuckDBPyConnection, digits: Case, name: str) -> None:
    example = digits if name == "digits" else CASES[name]
    (actual,) = rows(shared, f"from proper_scores('{load(shared, example)}', level := 0.9)")
    proba = example.proba.astype(np.float64)
    eps = float(np.finfo(np.float32).eps)
    losses = -np.log(np.clip(proba[np.arange(len(proba)), example.y], eps, 1 - eps))
    briers = ((proba - np.eye(proba.shape[1])[example.y]) ** 2).sum(axis=1)
    for name, values in (("log_loss", losses), ("brier", briers)):
        low, high = stats.norm.interval(0.9, values.mean(), stats.sem(values))
        same(actual[f"{name}_low"], max(0.0, float(low)), 1e-7)
        same(actual[f"{name}_high"], float(high), 1e-7)


def test_histograms_within_their_bound(shared: duckdb.DuckDBPyConnection, example: Case) -> None:
    name = load(shared, example)
    exact = rows(shared, f"from auc_per_class('{name}', exact := true)")
    binned = rows(shared, f"from auc_per_class('{name}', exact := false)")
    assert exact == rows(shared, f"from auc_per_class('{name}')") or has_nan(example)
    within_bounds(exact, binned)
    (exact_means,) = rows(shared, f"from auc('{name}', exact := true)")
    (binned_means,) = rows(shared, f"from auc('{name}', exact := false)")
    for area, mean in (("roc_auc", "macro"), ("roc_auc", "weighted"), ("map", "macro"), ("map", "weighted")):
        close(exact_means[f"{area}_{mean}"], binned_means[f"{area}_{mean}"], binned_means[f"{area}_max_error"])


def within_bounds(exact: list[dict[str, object]], binned: list[dict[str, object]]) -> None:
    for ours, theirs in zip(exact, binned, strict=True):
        assert (ours["method"], theirs["method"]) == ("exact", "histogram")
        assert (ours["class"], ours["positives"]) == (theirs["class"], theirs["positives"])
        for figure in ("roc_auc", "average_precision"):
            assert ours[f"{figure}_max_error"] in (None, 0)
            close(ours[figure], theirs[figure], theirs[f"{figure}_max_error"])


def close(exact: object, binned: object, max_error: object) -> None:
    """No further from each other than the bound; NULL and NaN are the same in both."""
    if isinstance(exact, float) and isinstance(binned, float) and not math.isnan(exact):
        assert isinstance(max_error, float)
        assert abs(exact - binned) <= max_error + 1e-12
    else:
        assert repr(exact) == repr(binned)


def hostile(rng: np.random.Generator, n: int) -> dict[str, np.ndarray]:
    """Scores that are hard on bins: equal, beyond float32's ends, in one bin, on borders, outside 0..1, skewed."""
    uniform = rng.random(n)
    border = 1 / (1 + np.exp(-rng.integers(-3, 3, n) / 256))
    return {
        "equal": np.full(n, 0.3),
        "zero and one": rng.integers(0, 2, n).astype(float),
        "tiny": uniform * 1e-42,
        "nearly one": 1 - uniform * 1e-9,
        "one bin": 0.5 + uniform * 1e-3,
        "few bins": 0.5 + uniform * 1e-2,
        "closer than float32": 0.7 + rng.integers(0, 5, n) * 1e-12,
        "borders": np.nextafter(border, rng.integers(0, 2, n)),
        "outside": rng.normal(size=n) * 1e40,
        "skewed": uniform**40,
        "ties": np.round(uniform, 1),
    }


@pytest.mark.parametrize("scores", hostile(np.random.default_rng(0), 1))
@pytest.mark.parametrize("share", [0.03, 0.5])
def test_histograms_of_hostile_scores(shared: duckdb.DuckDBPyConnection, scores: str, share: float) -> None:
    """Compared with scikit-learn, on probabilities that are stored as DOUBLE[]."""
    for seed in range(6):
        rng = np.random.default_rng(seed)
        truth, p = rng.random(80) < share, hostile(rng, 80)[scores]
        truth[0], truth[1] = True, False
        if seed % 2:  # in order, and so at an end of what the bins allow
            truth = np.sort(truth)
            p = np.sort(p)[:: rng.choice([1, -1])]
        made = pa.table({"label": truth.astype(int), "pred": truth.astype(int), "probs": list(np.stack([0 * p, p], 1))})
        shared.register("hostile", made)
        exact, binned = (rows(shared, f"from auc_per_class('hostile', exact := {exact})") for exact in (True, False))
        within_bounds(exact, binned)
        same(exact[1]["roc_auc"], float(sk.roc_auc_score(truth, p)))
        same(exact[1]["average_precision"], float(sk.average_precision_score(truth, p)))
        if scores in ("equal", "zero and one", "ties"):
            assert binned[1]["roc_auc_max_error"] == 0
            same(binned[1]["average_precision"], exact[1]["average_precision"])


def test_a_bound_is_reached(shared: duckdb.DuckDBPyConnection) -> None:
    """All in one bin in the worst order: nothing is known, and that is what the bound says."""
    probs = [[0.5, 0.5001]] * 3 + [[0.5, 0.5002]] * 3
    name = load(shared, case([1, 1, 1, 0, 0, 0], probs))
    exact, binned = (rows(shared, f"from auc_per_class('{name}', exact := {exact})")[1] for exact in (True, False))
    assert (exact["roc_auc"], binned["roc_auc"], binned["roc_auc_max_error"]) == (0, 0.5, 0.5)
    assert binned["roc_auc_low"] is None


def test_histograms_of_an_ordinary_run_are_close(shared: duckdb.DuckDBPyConnection) -> None:
    name = load(shared, random_case(20_000, 10, 7))
    exact, binned = (rows(shared, f"from auc_per_class('{name}', exact := {exact})") for exact in (True, False))
    for ours, theirs in zip(exact, binned, strict=True):
        assert 0 < theirs["roc_auc_max_error"] < theirs["average_precision_max_error"] < 1e-2
        assert abs(ours["roc_auc"] - theirs["roc_auc"]) < 1e-4
        for figure in ("roc_auc", "average_precision"):
            assert theirs[f"{figure}_low"] < ours[f"{figure}_low"] < ours[f"{figure}_high"] < theirs[f"{figure}_high"]


def test_size_chooses_the_method(con: duckdb.DuckDBPyConnection) -> None:
    """Each run by its own size, with a limit that fits in a test."""
    text = templates.find("auc_per_class").text
    assert "250_000_000" in text
    con.execute(text.replace("250_000_000", "3000"))
    shared = load(con, random_case(300, 10, 1))
    con.execute(f"create table pooled as select 'at' as run, * from {shared}")
    con.execute(f"insert into pooled select 'above' as run, * from {shared}")
    con.execute(f"insert into pooled select 'above' as run, * from {shared} limit 1")
    con.execute("update pooled set image_id = null").fetchall()
    assert {row["run"]: row["method"] for row in rows(con, "from auc('pooled')")} == {
        "at": "exact",
        "above": "histogram",
    }
    (given,) = rows(con, f"from leaderboard('{shared}')")
    assert given["roc_auc_max_error"] == 0


@pytest.mark.parametrize("name", ["ten", "digits"])
def test_auc_of_torchmetrics(shared: duckdb.DuckDBPyConnection, digits: Case, name: str) -> None:
    example = digits if name == "digits" else CASES[name]
    (actual,) = rows(shared, f"from auc('{load(shared, example)}')")
    probs, y = torch.tensor(example.proba), torch.tensor(example.y)
    same(actual["roc_auc_macro"], float(tm.multiclass_auroc(probs, y, 10)), 1e-6)
    same(actual["map_weighted"], float(tm.multiclass_average_precision(probs, y, 10, average="weighted")), 1e-6)


def test_pr_curve(shared: duckdb.DuckDBPyConnection, example: Case) -> None:
    name = load(shared, example)
    actual = rows(shared, f"from pr_curve('{name}', 1, max_points := 0)")
    if not len(example.y) or example.proba.shape[1] < 2:
        assert not actual
        return
    kept = ~np.isnan(example.proba[:, 1])
    truth, score = example.y[kept] == 1, example.proba[kept, 1]
    thresholds = np.unique(score)[::-1]
    assert [row["threshold"] for row in actual] == thresholds.tolist()
    for row in actual:
        called = score >= row["threshold"]
        assert row["called"] == called.sum()
        same(row["precision"], float(truth[called].mean()))
        same(row["recall"], float(called[truth].mean()) if truth.any() else None)
        same(row["fpr"], float(called[~truth].mean()) if not truth.all() else None)
    few = rows(shared, f"from pr_curve('{name}', 1, max_points := 20)")
    assert len(few) <= 21
    assert [few[0], few[-1]] == [actual[0], actual[-1]]
    assert all(row in actual for row in few)


def test_pr_curve_of_sklearn(shared: duckdb.DuckDBPyConnection, digits: Case) -> None:
    actual = rows(shared, f"from pr_curve('{load(shared, digits)}', 3, max_points := 0)")
    precision, recall, thresholds = sk.precision_recall_curve(digits.y == 3, digits.proba[:, 3])
    assert np.allclose([row["threshold"] for row in actual][::-1], thresholds, atol=0)
    assert np.allclose([row["precision"] for row in actual][::-1], precision[:-1], atol=1e-15)
    assert np.allclose([row["recall"] for row in actual][::-1], recall[:-1], atol=1e-15)
    fpr = sk.roc_curve(digits.y == 3, digits.proba[:, 3], drop_intermediate=False)[0]
    assert np.allclose([row["fpr"] for row in actual], fpr[1:], atol=1e-15)


def test_predictive_entropy(shared: duckdb.DuckDBPyConnection, example: Case) -> None:
    (actual,) = rows(shared, f"from predictive_entropy('{load(shared, example)}')")
    assert actual["n"] == len(example.y)
    if not len(example.y):
        assert actual["mean_entropy"] is None
        return
    entropy, right = special.entr(example.proba.astype(np.float64)).sum(axis=1), example.y == example.p
    for column, chosen in (
        ("mean_entropy", right | True),
        ("mean_entropy_right", right),
        ("mean_entropy_wrong", ~right),
    ):
        same(actual[column], float(entropy[chosen].mean()) if chosen.any() else None)


def on_scores(scores: str) -> Check:
    return lambda con: test_histograms_of_hostile_scores(con, scores, 0.5)


# What must be noticed: a macro, a text in its file, what stands there instead, and a check that must fail then.
MUTANTS = [
    Mutant("proper_scores", "greatest(p_label, eps)", "p_label", on_cases(test_proper_scores)),
    Mutant("proper_scores", "p_squared - 2 * p_label + 1", "p_squared - p_label + 1", on_cases(test_proper_scores)),
    Mutant("auc_per_class", "(others_above + others_called) / 2", "others_above", on_cases(test_auc)),
    Mutant("auc_per_class", "(called + others_above) as highest", "last_rank as highest", on_scores("few bins")),
    Mutant("auc_per_class", "(called - here + 1) / (", "called / (", on_scores("few bins")),
    Mutant("auc_per_class", "sum(here * (others_called", "sum((others_called", on_scores("few bins")),
    Mutant("_binned_ranks", "min(p) < max(p)", "false", on_scores("one bin")),
    Mutant("_binned_ranks", "order by bin desc", "order by bin", on_scores("skewed")),
    Mutant("_called_scores", "p >= lowest", "p > lowest", on_cases(test_auc)),
    Mutant(
        "auc_per_class", "called - here / 2", "called", lambda con: test_intervals_of_auc(con, EDGES["ties"], "rounded")
    ),
    Mutant(
        "proper_scores",
        "stddev_samp(loss)",
        "stddev_pop(loss)",
        lambda con: test_intervals_of_proper_scores(con, EDGES["ties"], "ten"),
    ),
]


@pytest.mark.parametrize("mutant", MUTANTS, ids=[f"{mutant.name}-{number}" for number, mutant in enumerate(MUTANTS)])
def test_a_mutant_is_noticed(con: duckdb.DuckDBPyConnection, mutant: Mutant) -> None:
    assert is_noticed(con, mutant)
