"""Answering only the most confident images: risk, coverage and thresholds."""

from __future__ import annotations

import math
from functools import partial

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from ..support.edge_cases import Case, load
from ..support.oracle import Mutant, has_nan, is_noticed, on_cases, rows, same


def test_selective_risk(shared: duckdb.DuckDBPyConnection, example: Case) -> None:
    name = load(shared, example)
    (actual,) = rows(shared, f"from selective_risk('{name}', target_accuracy := 0.8)")
    curve = rows(shared, f"from risk_coverage('{name}', max_points := 0)")
    n = len(example.y)
    assert actual["n"] == n
    if not n or has_nan(example):
        assert actual["aurc"] is None or math.isnan(actual["aurc"])
        return
    wrong, c = example.y != example.p, example.c
    risk = np.array([wrong[c >= each].mean() for each in c])
    same(actual["aurc"], float(risk.mean()))
    perfect = np.cumsum(np.sort(wrong)) / np.arange(1, n + 1)
    same(actual["eaurc"], float(risk.mean() - perfect.mean()))
    (chosen,) = rows(shared, f"from threshold_for('{name}', target_accuracy := 0.8)")
    same(actual["threshold_at_target"], chosen["threshold"])
    same(actual["coverage_at_target"], chosen["coverage"])
    assert [row["threshold"] for row in curve] == np.unique(c)[::-1].tolist()
    for row in curve:
        same(row["risk"], float(wrong[c >= row["threshold"]].mean()))
        same(row["coverage"], float((c >= row["threshold"]).mean()))
    few = rows(shared, f"from risk_coverage('{name}', max_points := 7)")
    assert len(few) <= 7
    assert few[-1]["coverage"] == 1


def interval(k: int, n: int, level: float) -> tuple[float, float]:
    low, high = proportion_confint(k, n, 1 - level, method="wilson")
    return float(low), float(high)


@pytest.mark.parametrize("threshold", [0.0, 0.5, 0.9, 1.0])
def test_at_threshold(shared: duckdb.DuckDBPyConnection, example: Case, threshold: float) -> None:
    (actual,) = rows(shared, f"from at_threshold('{load(shared, example)}', {threshold}, level := 0.9)")
    answered = example.c.astype(np.float64) >= threshold
    n, k = int(answered.sum()), int((example.y == example.p)[answered].sum())
    assert (actual["n"], actual["n_answered"], actual["n_abstained"]) == (len(example.y), n, len(example.y) - n)
    same(actual["coverage"], n / len(example.y) if len(example.y) else None)
    same(actual["accuracy"], k / n if n else None)
    low, high = interval(k, n, 0.9) if n else (math.nan, math.nan)
    same(actual["ci_low"], low)
    same(actual["ci_high"], high)


def in_order(confidence: np.ndarray, right: np.ndarray, target: float, level: float) -> float | None:
    """The threshold by the words of the header: tests in a fixed order, by intervals of statsmodels."""
    confidence, right = confidence[~np.isnan(confidence)], right[~np.isnan(confidence)]
    if target >= 1 or not len(right):
        return None
    least = max(1.0, stats.norm.ppf((1 + level) / 2) ** 2 * target / (1 - target))
    points: dict[int, float] = {}  # the lowest threshold of every tenth more images
    for threshold in np.unique(confidence)[::-1]:
        part = math.floor(math.log((confidence >= threshold).sum() / least) / math.log(1.1))
        if part >= 0:
            points[part] = float(threshold)
    sequences = math.floor(math.log(len(right) / least) / math.log(1.1)) // 7 + 1
    passed = {}
    for part, threshold in points.items():
        answered = confidence >= threshold
        low, _ = interval(int(right[answered].sum()), int(answered.sum()), 1 - (1 - level) / sequences)
        passed[part] = low >= target
    reached = []
    for start in {part // 7: part for part in sorted(points, reverse=True)}.values():
        for part in [part for part in points if part >= start]:
            if not passed[part]:
                break
            reached.append(points[part])
    return min(reached, default=None)


@pytest.mark.parametrize(("target", "level"), [(0.5, 0.5), (0.8, 0.95), (0.0, 0.9), (1.0, 0.9), (0.3, 0.6)])
def test_threshold_for(shared: duckdb.DuckDBPyConnection, example: Case, target: float, level: float) -> None:
    name = load(shared, example)
    (actual,) = rows(shared, f"from threshold_for('{name}', target_accuracy := {target}, level := {level})")
    best = in_order(example.c, example.y == example.p, target, level)
    assert actual["threshold"] == best
    chosen = rows(shared, f"from at_threshold('{name}', {best or 2}, level := {level})")[0]
    assert {key: value for key, value in actual.items() if key != "threshold"} == chosen
    assert best is None or actual["ci_low"] >= target


def answered(con: duckdb.DuckDBPyConnection, confidence: np.ndarray, right: np.ndarray) -> None:
    pred = (~right).astype("int32")
    ids = np.arange(len(pred))
    con.register("_drawn", pa.table({"image_id": ids, "label": 0 * pred, "pred": pred, "confidence": confidence}))


@pytest.mark.parametrize("target", [0.8, 0.99])
def test_thresholds_of_long_sequences(con: duckdb.DuckDBPyConnection, target: float) -> None:
    rng = np.random.default_rng(11)
    found = set()
    for number in range(40):
        confidence = rng.random(3000).round(int(rng.integers(2, 6)))  # with ties
        # Accuracy declines, or is just enough until a point and then nothing: failures with passes after them.
        shares = 1 - (1 - target) * rng.uniform(0.6, 4) * (1 - confidence) ** rng.uniform(0, 1)
        if number % 2:
            shares = (target + (1 - target) * rng.uniform(0, 0.3)) * (confidence > rng.uniform(0, 0.9))
        right = rng.random(3000) < shares
        answered(con, confidence, right)
        (actual,) = rows(con, f"from threshold_for('_drawn', target_accuracy := {target})")
        assert actual["threshold"] == in_order(confidence, right, target, 0.95)
        found.add(actual["threshold"])
    assert len(found - {None}) > 2


def test_a_target_is_missed_as_rarely_as_the_level_says(con: duckdb.DuckDBPyConnection) -> None:
    """Models just below the target at every threshold: 400 data sets, nominal 2.5 %, Monte Carlo error 0.8 %.

    The best threshold of all, tested one by one, misses the target in more than a tenth of them.
    """
    rng = np.random.default_rng(3)
    missed = best = 0
    for target, n in [(0.8, 600), (0.95, 900)] * 200:
        confidence, right = np.sort(rng.random(n))[::-1].copy(), rng.random(n) < target - 1e-9
        answered(con, confidence, right)
        (actual,) = rows(con, f"select threshold from threshold_for('_drawn', target_accuracy := {target})")
        missed += actual["threshold"] is not None
        kept = np.arange(1, n + 1)
        best += bool((proportion_confint(right.cumsum(), kept, 0.05, method="wilson")[0] >= target).any())
    assert missed <= 0.025 * 400 + 2 * (0.025 * 0.975 * 400) ** 0.5
    assert best > 40


def test_a_model_that_is_good_enough_answers_most_images(con: duckdb.DuckDBPyConnection) -> None:
    """99.75 % right at a target of 99 %: every image; half of them sure and the others guessed: nearly that half."""
    rng = np.random.default_rng(5)
    confidence = np.sort(rng.random(5000))[::-1].copy()
    for shares, least, most in [
        (np.full(5000, 0.9975), 1, 1),
        (np.where(np.arange(5000) < 2500, 0.998, 0.5), 0.4, 0.51),
    ]:
        answered(con, confidence, rng.random(5000) < shares)
        (actual,) = rows(con, "from threshold_for('_drawn')")
        assert least <= actual["coverage"] <= most


# What must be noticed: a macro, a text in its file, what stands there instead, and a check that must fail then.
MUTANTS = [
    Mutant("_coverage_steps", "not _correct(label, pred)", "label > pred", on_cases(test_selective_risk)),
    Mutant("_coverage_steps", "count(*) over", "row_number() over", on_cases(test_selective_risk)),
    Mutant("risk_coverage", "where part > 0", "where true", on_cases(test_selective_risk)),
    Mutant("at_threshold", "and not isnan(confidence::double)", "", on_cases(test_at_threshold, 0.5)),
    Mutant("at_threshold", ">= threshold", "> threshold", on_cases(test_at_threshold, 0.5)),
    Mutant("threshold_for", "where target_accuracy < 1", "where true", on_cases(test_threshold_for, 1.0, 0.9)),
    Mutant(
        "threshold_for", "where is_established", "where true", partial(test_thresholds_of_long_sequences, target=0.8)
    ),
    Mutant("threshold_for", "/ 2 / sequences", "/ 2", partial(test_thresholds_of_long_sequences, target=0.8)),
]


@pytest.mark.parametrize("mutant", MUTANTS, ids=[f"{mutant.name}-{number}" for number, mutant in enumerate(MUTANTS)])
def test_a_mutant_is_noticed(con: duckdb.DuckDBPyConnection, mutant: Mutant) -> None:
    assert is_noticed(con, mutant)
