"""Confident learning: the same thresholds, joint, rows and order as cleanlab."""

from __future__ import annotations

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from scipy import special

from ..support.edge_cases import Case, load, random_case
from ..support.oracle import CASES, Mutant, is_noticed, on_cases, quietly, rows, same

CLEANLAB = {
    "twenty_thousand": random_case(20_000, 10, 2),
    "three_thousand": random_case(3000, 100, 3),
    "hundred": CASES["hundred"],
    "noise": random_case(500, 5, 4, signal=0.0),
    "binary": CASES["binary"],
    "ties": CASES["ties"],
    "certain": CASES["certain"],
}


def whole_numbers(shares: np.ndarray, total: int) -> np.ndarray:
    """The shares rounded (half to even), then those moved that were rounded most, so that they add up to `total`.

    Of equal ones the higher go up and the lower go down.
    """
    whole = np.round(shares).astype(int)
    order = np.argsort(shares - whole, kind="stable")
    missing = total - whole.sum()
    whole[order[::-1][: max(missing, 0)]] += 1
    whole[order[: max(-missing, 0)]] -= 1
    return whole


def test_confident_learning(shared: duckdb.DuckDBPyConnection, example: Case) -> None:
    name = load(shared, example)
    bars = rows(shared, f"from confident_thresholds('{name}')")
    joint = rows(shared, f"from confident_joint('{name}')")
    issues = rows(shared, f"from label_issues('{name}')")
    quality = rows(shared, f"from label_quality('{name}')")
    kept = [row for row in example.kept if not np.isnan(example.probs[row]).any()]
    if not kept:
        assert bars == joint == issues == quality == []
        return
    y = np.array([example.label[row] for row in kept])
    proba = np.array([example.probs[row] for row in kept], dtype=np.float32).astype(np.float64)
    classes = proba.shape[1]
    expected = [proba[y == each, each].mean() if (y == each).any() else None for each in range(classes)]
    for row, bar in zip(bars, expected, strict=True):
        same(row["threshold"], bar)
        assert row["n"] == (y == row["class"]).sum()
    above = proba >= np.array([2 if bar is None else max(bar, 2e-6) for bar in expected]) - 1e-6
    top = proba.argmax(axis=1)
    guess = np.where(above.sum(axis=1) > 1, top, np.where(above.any(axis=1), above.argmax(axis=1), -1))
    raw = np.array([[((y == i) & (guess == j)).sum() for j in range(classes)] for i in range(classes)])
    np.fill_diagonal(raw, np.maximum(raw.diagonal(), 1))
    cells = {(row["label"], row["true_class"]): row for row in joint}
    for i in range(classes):
        n = int((y == i).sum())
        whole = whole_numbers(raw[i] / raw[i].sum() * n, n)
        for j in range(classes):
            if raw[i, j]:
                cell = cells.pop((i, j))
                assert (cell["raw"], cell["calibrated"]) == (raw[i, j], whole[j])
    assert not cells
    own = proba[np.arange(len(y)), y]
    rest = proba.copy()
    rest[np.arange(len(y)), y] = -np.inf
    margin = own - rest.max(axis=1)
    suspects = [each for each in np.lexsort((kept, own)) if guess[each] not in (-1, y[each]) and margin[each] < -1e-6]
    assert [row["image_id"] for row in issues] == [kept[each] for each in suspects]
    for row, each in zip(issues, suspects, strict=True):
        assert row["suggested"] == guess[each]
        same(row["self_confidence"], own[each])
        same(row["confidence"], proba[each].max())
        same(row["margin"], margin[each])
    assert [row["image_id"] for row in quality] == [kept[each] for each in np.lexsort((kept, own))]
    for row in quality:
        same(row["normalized_margin"], (margin[kept.index(row["image_id"])] + 1) / 2)


def by_cleanlab(example: Case) -> list[int]:
    search = pytest.importorskip("cleanlab.filter")
    proba = example.proba.astype(np.float64)
    kwargs = {"filter_by": "confident_learning", "return_indices_ranked_by": "self_confidence", "n_jobs": 1}
    return quietly(search.find_label_issues, example.y, proba, **kwargs).tolist()


@pytest.mark.parametrize("name", [*CLEANLAB, "digits"])
def test_label_issues_of_cleanlab(
    shared: duckdb.DuckDBPyConnection, digits: Case, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same rows in the same order, once equal remainders have an order: the library's is that of an unstable sort."""
    count = pytest.importorskip("cleanlab.count")
    example = digits if name == "digits" else CLEANLAB[name]
    table = load(shared, example)
    y, proba = example.y, example.proba.astype(np.float64)
    bars = [row["threshold"] for row in rows(shared, f"from confident_thresholds('{table}')")]
    assert np.allclose(bars, count.get_confident_thresholds(y, proba), atol=2e-6 if name == "certain" else 1e-12)
    unstable = np.argsort
    monkeypatch.setattr(np, "argsort", lambda values, **kwargs: unstable(values, **{**kwargs, "kind": "stable"}))
    issues = [row["image_id"] for row in rows(shared, f"from label_issues('{table}')")]
    assert issues == by_cleanlab(example)
    for column, calibrate in (("raw", False), ("calibrated", True)):
        actual = np.zeros((proba.shape[1],) * 2, dtype=int)
        for row in rows(shared, f"from confident_joint('{table}')"):
            actual[row["label"], row["true_class"]] = row[column]
        assert (actual == count.compute_confident_joint(y, proba, calibrate=calibrate)).all()


def suspected(
    con: duckdb.DuckDBPyConnection, seed: int, classes: int, signal: float, noise: float
) -> tuple[int, float, float]:
    """Number of suspects of a model of that strength, the share of wrong labels among them, and the estimate of it."""
    rng = np.random.default_rng(seed)
    n = 3000
    true = rng.integers(0, classes, n)
    logits = rng.normal(size=(n, classes))
    logits[np.arange(n), true] += signal
    probs = special.softmax(signal * logits, axis=1).astype("float32")
    flipped = rng.random(n) < noise
    label = np.where(flipped, (true + rng.integers(1, classes, n)) % classes, true)
    columns = {"image_id": np.arange(n), "label": label, "pred": probs.argmax(1), "confidence": probs.max(1)}
    con.register("_drawn", pa.table({**columns, "probs": list(probs)}))
    issues = rows(con, "from label_issues('_drawn')")
    wrong = [bool(flipped[row["image_id"]]) for row in issues]
    return len(issues), float(np.mean(wrong)), float(np.mean([row["p_wrong"] for row in issues]))


@pytest.mark.parametrize(
    ("classes", "signal", "noise"),
    [
        (10, 4.0, 0.05),
        (10, 2.6, 0.05),
        (10, 2.0, 0.05),
        (10, 2.6, 0.0),
        (2, 2.0, 0.08),
        (50, 3.0, 0.03),
        (50, 3.0, 0.0),
    ],
)
def test_suspects_are_estimated_to_be_as_right_as_they_are(
    con: duckdb.DuckDBPyConnection, classes: int, signal: float, noise: float
) -> None:
    """From a model that is right on 98 % to one on two thirds: five data sets each, precision from 0 to 0.98."""
    found = [suspected(con, seed, classes, signal, noise) for seed in range(5)]
    assert min(n for n, _, _ in found) >= 5
    shares, estimates = (np.array(each) for each in list(zip(*found, strict=True))[1:])
    assert abs(shares.mean() - estimates.mean()) < 0.06, (shares, estimates)
    assert np.abs(shares - estimates).max() < 0.16, (shares, estimates)


def test_overconfidence_is_not_taken_for_wrong_labels(con: duckdb.DuckDBPyConnection) -> None:
    """The same answers with logits doubled, without a wrong label: the estimate stays low."""
    rng = np.random.default_rng(1)
    label = rng.integers(0, 10, 3000)
    logits = rng.normal(size=(3000, 10)) + 2.6 * (label[:, None] == np.arange(10))
    probs = special.softmax(2 * 2.6 * logits, axis=1).astype("float32")
    columns = {"image_id": np.arange(3000), "label": label, "pred": probs.argmax(1), "confidence": probs.max(1)}
    con.register("_drawn", pa.table({**columns, "probs": list(probs)}))
    issues = rows(con, "from label_issues('_drawn')")
    assert len(issues) > 200
    assert np.mean([row["p_wrong"] for row in issues]) < 0.1


# What must be noticed: a macro, a text in its file, what stands there instead, and a check that must fail then.
MUTANTS = [
    Mutant(
        "_confident_guesses",
        "when probs[top + 1] >= bars[top + 1] then top",
        "when true then top",
        on_cases(test_confident_learning),
    ),
]


@pytest.mark.parametrize("mutant", MUTANTS, ids=[f"{mutant.name}-{number}" for number, mutant in enumerate(MUTANTS)])
def test_a_mutant_is_noticed(con: duckdb.DuckDBPyConnection, mutant: Mutant) -> None:
    assert is_noticed(con, mutant)
