"""Time late scoring against scipy, torch, scikit-learn and numpy, in one process, taking turns; prints a table.

    python tests/benchmarks/bench_rescoring.py [rows] [classes] [turns]

The library starts from numpy arrays in memory, SQL from a table of an evaluation file. Medians over the turns, by the
clock and in seconds of CPU, which say more on a busy machine.
"""

from __future__ import annotations

import resource
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import torch
from bench_metrics import Library, make
from scipy import optimize, stats
from sklearn import metrics as sk

import sqlanalysis

LEAST = 1.1754944e-38


def fit_by_scipy(library: Library) -> list[float]:
    """Bounded minimisation over 1 / temperature, as one would write it with numpy."""
    logits = np.log(np.maximum(library.probs, LEAST))
    logits -= logits.max(axis=1, keepdims=True)
    own = logits[np.arange(len(library.y)), library.y]

    def loss(beta: float) -> float:
        return float((np.log(np.exp(beta * logits).sum(axis=1)) - beta * own).mean())

    return [1 / optimize.minimize_scalar(loss, bounds=(0.01, 100), method="bounded", options={"xatol": 1e-6}).x]


def fit_by_torch(library: Library) -> list[float]:
    """What the code of Guo et al. does: LBFGS over the temperature."""
    logits = torch.from_numpy(library.probs).clamp_min(LEAST).log()
    target, heat = torch.from_numpy(library.y), torch.ones((), requires_grad=True)
    optimizer = torch.optim.LBFGS([heat], max_iter=50, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        value = torch.nn.functional.cross_entropy(logits / heat, target)
        value.backward()
        return value

    optimizer.step(closure)
    return [heat.item()]


def temper(library: Library) -> list[float]:
    logits = torch.from_numpy(library.probs).clamp_min(LEAST).log()
    return [float((logits / 1.5).softmax(1).max(1).values.double().mean())]


def curve(library: Library) -> list[float]:
    wrong = (library.y != library.p)[np.argsort(-library.c, kind="stable")]
    return [float((np.cumsum(wrong) / np.arange(1, len(wrong) + 1)).mean())]


def threshold(library: Library) -> list[float]:
    order = np.argsort(-library.c, kind="stable")
    right, kept = np.cumsum((library.y == library.p)[order]), np.arange(1, len(order) + 1)
    z = stats.norm.ppf(0.975)
    passed = right - 0.8 * kept >= z * np.sqrt(kept * 0.8 * 0.2)
    return [float(library.c[order][passed].min()) if passed.any() else 0.0]


def weigh(library: Library) -> list[float]:
    return [sk.accuracy_score(library.y, library.p, sample_weight=1.0 + library.image_id % 3)]


PLAN: list[tuple[str, str, Callable[[Library], list[float]], str]] = [
    ("temperature", "scipy", fit_by_scipy, "select temperature from temperature('run')"),
    ("temperature", "torch LBFGS", fit_by_torch, "select temperature from temperature('run')"),
    ("tempered", "torch", temper, "select avg(confidence) from tempered('run', 1.5)"),
    ("selective", "numpy", curve, "select aurc from selective('run')"),
    ("threshold_for", "numpy", threshold, "select threshold from threshold_for('run', target_accuracy := 0.8)"),
    ("weighted_accuracy", "sklearn", weigh, "select accuracy from weighted_accuracy('run', 1 + image_id % 3)"),
]


def timed(work: Callable[[], Any]) -> tuple[float, float, Any]:
    clock, cpu = time.perf_counter(), time.process_time()
    found = work()
    return time.perf_counter() - clock, time.process_time() - cpu, found


def main(n: int = 1_000_000, classes: int = 10, turns: int = 5) -> None:
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        con = sqlanalysis.connect(Path(folder) / "bench.duckdb")
        library = make(con, n, classes)
        print(f"{n} x {classes}, duckdb {duckdb.__version__}, {torch.get_num_threads()} threads, {turns} turns\n")
        print("| macro | reference | deviation | SQL s (CPU) | ratio (CPU) |\n|---|---|---|---|---|")
        for name, reference, function, sql in PLAN:
            ours, theirs = [], []
            for _ in range(turns):
                ours.append(timed(lambda sql=sql: con.execute(sql).fetchall()))
                theirs.append(timed(lambda function=function: function(library)))
            deviation = abs((ours[-1][2][0][0] or 0.0) - theirs[-1][2][0])
            wall, cpu = (statistics.median(row[i] for row in ours) for i in (0, 1))
            ratio, cpu_ratio = (a / statistics.median(row[i] for row in theirs) for i, a in enumerate((wall, cpu)))
            print(
                f"| {name} | {reference} | {deviation:.0e} | {wall:.3f} ({cpu:.3f}) | {ratio:.2g} ({cpu_ratio:.2g}) |"
            )
        print(f"\nmemory of this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB")
        con.close()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
