"""Answering only the most confident images: risk, coverage and thresholds."""

from __future__ import annotations

import math

import duckdb
import numpy as np
import pytest
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


@pytest.mark.parametrize(("target", "level"), [(0.5, 0.5), (0.8, 0.95), (0.0, 0.9), (1.0, 0.9)])
def test_threshold_for(shared: duckdb.DuckDBPyConnection, example: Case, target: float, level: float) -> None:
    name = load(shared, example)
    (actual,) = rows(shared, f"from threshold_for('{name}', target_accuracy := {target}, level := {level})")
    thresholds = np.unique(example.c[~np.isnan(example.c)])
    answered = example.c >= thresholds[:, None]
    right = (answered & (example.y == example.p)).sum(axis=1)
    lows = proportion_confint(right, answered.sum(axis=1), 1 - level, method="wilson")[0]
    best = float(thresholds[lows >= target][0]) if (lows >= target).any() else None
    assert actual["threshold"] == best
    chosen = rows(shared, f"from at_threshold('{name}', {best or 2}, level := {level})")[0]
    assert {key: value for key, value in actual.items() if key != "threshold"} == chosen
    assert best is None or actual["ci_low"] >= target


# What must be noticed: a macro, a text in its file, what stands there instead, and a check that must fail then.
MUTANTS = [
    Mutant("_coverage_steps", "not _correct(label, pred)", "label > pred", on_cases(test_selective_risk)),
    Mutant("_coverage_steps", "count(*) over", "row_number() over", on_cases(test_selective_risk)),
    Mutant("risk_coverage", "where part > 0", "where true", on_cases(test_selective_risk)),
    Mutant("at_threshold", "and not isnan(confidence::double)", "", on_cases(test_at_threshold, 0.5)),
    Mutant("at_threshold", ">= threshold", "> threshold", on_cases(test_at_threshold, 0.5)),
    Mutant("threshold_for", "where target_accuracy < 1", "where true", on_cases(test_threshold_for, 1.0, 0.9)),
]


@pytest.mark.parametrize("mutant", MUTANTS, ids=[f"{mutant.name}-{number}" for number, mutant in enumerate(MUTANTS)])
def test_a_mutant_is_noticed(con: duckdb.DuckDBPyConnection, mutant: Mutant) -> None:
    assert is_noticed(con, mutant)
