"""How often intervals hold the truth, simulated: long forms of what tests/sql/test_coverage.py checks in seconds.

    python tests/benchmarks/coverage.py [--sets N] [--only NAME ...]

Every data set comes from a model whose truth is known. Prints one row per claim: nominal, simulated, Monte Carlo error.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator

import duckdb
import numpy as np
import shared  # noqa: F401  finds the package tests
from scipy import stats

import sqlanalysis
from tests.support import simulations as sim

Ends = tuple[float, float]


def f1_by_numpy(con: duckdb.DuckDBPyConnection, sets: int, classes: int, each: int, fixed: bool) -> Iterator[bool]:
    """bootstrap_ci's interval of macro F1, its formula in numpy over row resamples."""
    for seed in range(sets):
        y, p, truth = sim.labels_and_answers(classes, each, seed, fixed)
        low, high = sim.f1_interval(y, p, classes, 200, seed)
        yield low <= truth <= high


def f1_by_sql(con: duckdb.DuckDBPyConnection, sets: int, classes: int, each: int, fixed: bool) -> Iterator[bool]:
    for seed in range(sets):
        y, p, truth = sim.labels_and_answers(classes, each, seed, fixed)
        sql = "select ci_low, ci_high from bootstrap_ci('made', n_resamples := 200) where metric = 'f1_macro'"
        low, high = sim.answer(con, {"label": y, "pred": p}, sql)
        yield low <= truth <= high


Check = Callable[[duckdb.DuckDBPyConnection, int], Iterator[bool] | Iterator[list[bool]]]
CHECKS: dict[str, Check] = {}
for classes, each in ((10, 20), (10, 100), (100, 10), (1000, 10), (1000, 50)):
    for fixed in (False, True):
        kind = "fixed" if fixed else "sampled"
        for name, by in (("numpy", f1_by_numpy), ("sql", f1_by_sql)):
            CHECKS[f"f1_macro {classes} x {each} {kind} {name}"] = (
                lambda con, sets, a=(classes, each, fixed), by=by: by(con, sets, *a)  # type: ignore[misc]
            )


def column(hits: Callable[..., Iterator[list[bool]]], index: int, *given: float) -> Check:
    return lambda con, sets: (each[index] for each in hits(con, sets, *given))


for n, share, shift in ((200, 0.1, 1.5), (200, 0.5, 1.0), (1000, 0.1, 2.5)):
    for index, name in enumerate(("roc_auc", "average_precision")):
        CHECKS[f"{name} n {n} share {share} shift {shift}"] = column(sim.area_hits, index, n, share, shift)
for n, power in ((200, 1.0), (200, 0.5), (1000, 1.0), (1000, 0.7), (5000, 0.9)):
    CHECKS[f"ece n {n} power {power}"] = lambda con, sets, a=(n, power): sim.ece_hits(con, sets, *a)  # type: ignore[misc]
for n in (100, 1000):
    CHECKS[f"log_loss n {n}"] = lambda con, sets, n=n: sim.loss_hits(con, sets, n)  # type: ignore[misc]
for classes, each in ((10, 10), (10, 50), (100, 20)):
    for index, name in enumerate(("precision", "recall", "f1")):
        CHECKS[f"{name} of a class, {classes} x {each}"] = column(sim.class_hits, index, classes, each)

for groups in (30, 100):
    for icc in (0.3, 0.6):
        for size in (10, 30):
            for p in (0.7, 0.9, 0.97):
                kind = f"{groups} groups of {size}, ICC {icc}, accuracy {p}"
                for name, check in (
                    ("accuracy", sim.group_hits), ("accuracy numpy", sim.group_hits_by_numpy),
                    ("bootstrap_ci", sim.group_resamples), ("mcnemar", sim.group_tests),
                ):  # fmt: skip
                    CHECKS[f"{name}, {kind}"] = (
                        lambda con, sets, a=(groups, size, icc, p), check=check: check(con, sets, *a)  # type: ignore[misc]
                    )


SCORES = ("accuracy", "balanced accuracy", "macro F1", "kappa", "Matthews correlation")
DIFFERENCES = ("mcnemar", "balanced accuracy of verdict", *(f"paired_bootstrap, {name}" for name in SCORES[:3]))
PARTS: dict[str, tuple[str, ...]] = {}  # what a check gives in one go
for groups in (30, 100):
    for nested in (False, True):
        for uneven in (False, True):
            for icc in (0.3, 0.6):
                for p in (0.7, 0.9, 0.97):
                    kind = (
                        f"{groups} groups of {'about ' * uneven}10, {'a label each, ' * nested}ICC {icc}, accuracy {p}"
                    )
                    name = f"bootstrap_ci of, {kind}"
                    PARTS[name] = SCORES
                    CHECKS[name] = lambda con, sets, a=(groups, 10, icc, p, nested, uneven): sim.group_scores(  # type: ignore[misc]
                        con, sets, *a
                    )
                    name = f"a drop of 5 points by, {kind}"
                    PARTS[name] = DIFFERENCES
                    CHECKS[name] = lambda con, sets, a=(groups, 10, icc, p, 0.05, nested, uneven): (  # type: ignore[misc]
                        sim.group_differences(con, sets, *a)
                    )
for drop in (0.02, 0.05):
    for p in (0.7, 0.9, 0.97):
        for groups, size, icc, by in ((200, 1, 0.001, "null"), (1000, 1, 0.001, "null"), (30, 10, 0.3, "patient"),
                                      (30, 10, 0.6, "patient"), (100, 10, 0.6, "patient")):  # fmt: skip
            name = f"max_drop fails a true drop of {drop}, {groups} groups of {size}, ICC {icc}, accuracy {p}"
            CHECKS[name] = lambda con, sets, a=(groups, size, icc, p, drop, by): sim.true_drops(con, sets, *a)  # type: ignore[misc]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--sets", type=int, default=100)
    parser.add_argument("--only", nargs="*", default=[])
    given = parser.parse_args()
    con = sqlanalysis.connect()
    print("| claim | nominal | simulated | Monte Carlo error |\n|---|---|---|---|")
    for name, check in CHECKS.items():
        if not given.only or any(each in name for each in given.only):
            hits = np.array(list(check(con, given.sets))).reshape(given.sets, -1)
            nominal = 0.975 if name.startswith("max_drop") else 0.95
            error = math.sqrt(stats.binom.var(1, nominal) / len(hits))
            for part, share in zip(PARTS.get(name, ("",)), hits.mean(axis=0), strict=True):
                claim = name.replace(",", f" {part},", 1) if part else name
                print(f"| {claim} | {nominal} | {share:.3f} | {error:.3f} |", flush=True)


if __name__ == "__main__":
    main()
