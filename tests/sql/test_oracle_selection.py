"""Answering only the most confident images: risk, coverage and thresholds."""

from __future__ import annotations

import math

import duckdb
import numpy as np
import pytest
from statsmodels.stats.proportion import proportion_confint

from ..support.edge_cases import Case, load
from ..support.oracle import (
    has_nan,
    rows,
    same,
)


def test_selective_risk(shared: duckdb.DuckDBPyConnection, example: Case) -> None:
    name = load(shared, example)
    (found,) = rows(shared, f"from selective_risk('{name}', target_accuracy := 0.8)")
    curve = rows(shared, f"from risk_coverage('{name}', max_points := 0)")
    n = len(example.y)
    assert found["n"] == n
    if not n or has_nan(example):
        assert found["aurc"] is None or math.isnan(found["aurc"])
        return
    wrong, c = example.y != example.p, example.c
    risk = np.array([wrong[c >= one].mean() for one in c])
    same(found["aurc"], float(risk.mean()))
    perfect = np.cumsum(np.sort(wrong)) / np.arange(1, n + 1)
    same(found["eaurc"], float(risk.mean() - perfect.mean()))
    (chosen,) = rows(shared, f"from threshold_for('{name}', target_accuracy := 0.8)")
    same(found["threshold_at_target"], chosen["threshold"])
    same(found["coverage_at_target"], chosen["coverage"])
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
    (found,) = rows(shared, f"from at_threshold('{load(shared, example)}', {threshold}, level := 0.9)")
    answered = example.c.astype(np.float64) >= threshold
    n, k = int(answered.sum()), int((example.y == example.p)[answered].sum())
    assert (found["n"], found["n_answered"], found["n_abstained"]) == (len(example.y), n, len(example.y) - n)
    same(found["coverage"], n / len(example.y) if len(example.y) else None)
    same(found["accuracy"], k / n if n else None)
    low, high = interval(k, n, 0.9) if n else (math.nan, math.nan)
    same(found["ci_low"], low)
    same(found["ci_high"], high)


@pytest.mark.parametrize(("target", "level"), [(0.5, 0.5), (0.8, 0.95), (0.0, 0.9), (1.0, 0.9)])
def test_threshold_for(shared: duckdb.DuckDBPyConnection, example: Case, target: float, level: float) -> None:
    name = load(shared, example)
    (found,) = rows(shared, f"from threshold_for('{name}', target_accuracy := {target}, level := {level})")
    thresholds = np.unique(example.c[~np.isnan(example.c)])
    answered = example.c >= thresholds[:, None]
    right = (answered & (example.y == example.p)).sum(axis=1)
    lows = proportion_confint(right, answered.sum(axis=1), 1 - level, method="wilson")[0]
    best = float(thresholds[lows >= target][0]) if (lows >= target).any() else None
    assert found["threshold"] == best
    chosen = rows(shared, f"from at_threshold('{name}', {best or 2}, level := {level})")[0]
    assert {key: value for key, value in found.items() if key != "threshold"} == chosen
    assert best is None or found["ci_low"] >= target
