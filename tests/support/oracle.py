"""What the oracle tests share: example tables, exact comparison, intervals by definition, and mutants of macros."""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import duckdb
import numpy as np
import pytest
from scipy import optimize, stats

from sqlanalysis.db import templates

from .edge_cases import EDGES, Case, digits_case, random_case

CASES = {
    "binary": random_case(300, 2, 1),
    "ten": random_case(2000, 10, 2),
    "hundred": random_case(600, 100, 3),
    "noise": random_case(500, 5, 4, signal=0.0),
    **EDGES,
}
Check = Callable[[duckdb.DuckDBPyConnection], None]


class Mutant(NamedTuple):
    """A macro with one text in its file replaced, and a check that must fail then."""

    name: str
    old: str
    new: str
    check: Check


def rows(con: duckdb.DuckDBPyConnection, sql: str) -> list[dict[str, Any]]:
    """The rows of a query, as dictionaries."""
    result = con.execute(sql)
    names = [column[0] for column in result.description]
    return [dict(zip(names, row, strict=True)) for row in result.fetchall()]


def same(value: float | None, expected: float | None, tolerance: float = 1e-12) -> None:
    """Equal within a tolerance; NaN of a library is our NULL."""
    if expected is None or math.isnan(expected):
        assert value is None or math.isnan(value)
    else:
        assert value == pytest.approx(expected, abs=tolerance, rel=1e-12)


def quietly(function: Any, *args: Any, **kwargs: Any) -> Any:
    """A library's answer without its warnings about undefined values."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return function(*args, **kwargs)


def flat(value: Any) -> list[Any]:
    """Every value in order, lists and structs opened, NaN as a word, so that they compare."""
    if isinstance(value, dict):
        return flat(list(value.values()))
    if isinstance(value, list | tuple):
        return [part for inner in value for part in flat(inner)]
    return ["nan" if isinstance(value, float) and math.isnan(value) else value]


def values(con: duckdb.DuckDBPyConnection, call: str, name: str) -> list[Any]:
    """Every value of a call in order."""
    return flat(con.execute("from " + call.format(name)).fetchall())


def mislabeled_digits() -> Case:
    """scikit-learn's digits, predicted out of fold, with one label in twenty wrong."""
    example = quietly(digits_case)
    rng = np.random.default_rng(0)
    labels = list(example.label)
    for row in rng.choice(len(labels), 90, replace=False):
        labels[row] = int(rng.integers(0, 10))
    return Case(labels, example.pred, example.probs, example.confidence)


def has_nan(example: Case) -> bool:
    return bool(len(example.y) and np.isnan(example.proba).any())


def other_run(example: Case, seed: int = 5) -> Case:
    """A second run on the same images that differs on a third of them; a few images are missing."""
    rng = np.random.default_rng(seed)
    classes = max([1, *(label for label in example.label if label is not None)]) + 1
    change = rng.random(len(example.pred)) < 1 / 3
    pred = [
        int(rng.integers(0, classes)) if new or old is None else old
        for new, old in zip(change, example.pred, strict=True)
    ]
    keep = max(0, len(pred) - 3) if len(pred) > 10 else len(pred)
    return Case(example.label[:keep], pred[:keep], example.probs[:keep], example.confidence[:keep])


def both(baseline: Case, run: Case) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, predictions of the baseline and of the run, for the images that count."""
    triples = [
        (a, b, c) for a, b, c in zip(baseline.label, baseline.pred, run.pred, strict=False) if None not in (a, b, c)
    ]
    y, a, b = np.array(triples, dtype=np.int64).reshape(-1, 3).T
    return y, a, b


def agresti_min(run_only: int, baseline_only: int, n: int, level: float) -> tuple[float, float]:
    """Interval of a paired difference: half an image more in each of the four cells."""
    up, down, size = run_only + 0.5, baseline_only + 0.5, n + 2
    half = stats.norm.ppf((1 + level) / 2) * math.sqrt(up + down - (up - down) ** 2 / size) / size
    return max(-1, (up - down) / size - half), min(1, (up - down) / size + half)


def paired_interval(run_only: int, baseline_only: int, n: int, level: float) -> tuple[float, float]:
    """The same, widened to 0 where the exact test does not tell the two apart."""
    low, high = agresti_min(run_only, baseline_only, n, level)
    total = run_only + baseline_only
    if total and stats.binomtest(run_only, total).pvalue <= 1 - level:
        return low, high
    return min(low, 0), max(high, 0)


def uniform_mixture(k: int, n: int, level: float) -> tuple[float, float]:
    """Ends of {p: density of p after k of n, from a uniform prior, is at least 1 - level}."""

    def excess(p: float) -> float:
        return float(stats.beta.logpdf(p, k + 1, n - k + 1) - math.log(1 - level))

    low = optimize.brentq(excess, 1e-300, k / n, xtol=1e-15) if k else 0.0
    return low, optimize.brentq(excess, k / n, 1 - 1e-16, xtol=1e-15) if k < n else 1.0


def on_cases(check: Callable[..., None], *args: object) -> Check:
    """The check of a test that takes one table, over the edge table and the random ones."""

    def run(con: duckdb.DuckDBPyConnection) -> None:
        for example in CASES.values():
            check(con, example, *args)

    return run


def is_noticed(con: duckdb.DuckDBPyConnection, mutant: Mutant) -> bool:
    """Whether the check fails once the macro is broken in that way. The connection is closed afterwards."""
    text = templates.find(mutant.name).text
    assert mutant.old in text, "the macro has changed; choose another mutation"
    with contextlib.closing(con):
        con.execute(text.replace(mutant.old, mutant.new, 1))
        try:
            mutant.check(con)
        except (AssertionError, duckdb.Error):
            return True
    return False
