"""Time every metric against its reference library, in one process, taking turns; prints a table.

    python tests/benchmarks/bench_metrics.py [rows] [classes] [turns]

The library starts from numpy arrays in memory, SQL from a table of an evaluation file. Medians over the turns.
"""

from __future__ import annotations

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
import pandas as pd
import pyarrow as pa
import torch
import torchmetrics.functional.classification as tm
from scipy import stats
from sklearn import calibration as sk_calibration
from sklearn import metrics as sk

import sqlanalysis

Numbers = np.ndarray


def wilson(k: int, n: int) -> list[float]:
    interval = stats.binomtest(int(k), int(n)).proportion_ci(0.95, method="wilson")
    return [interval.low, interval.high]


class Library:
    """What a user of the libraries would write, from arrays."""

    def __init__(self, y: Numbers, probs: Numbers) -> None:
        self.y, self.probs = y, probs
        self.p, self.c = probs.argmax(axis=1), probs.max(axis=1)
        self.classes = probs.shape[1]
        self.image_id = np.arange(len(y))
        rng = np.random.default_rng(1)
        names = np.array(["train", "val", "test"], dtype=object)[rng.integers(0, 3, len(y))]
        self.features = pd.DataFrame(
            {"camera": rng.integers(0, 10, len(y)), "day": rng.integers(0, 2, len(y)) > 0, "split": names}
        )

    def accuracy(self) -> list[float]:
        return [sk.accuracy_score(self.y, self.p), *wilson((self.y == self.p).sum(), len(self.y))]

    def accuracy_bootstrap(self) -> list[float]:
        n, share = len(self.y), float((self.y == self.p).mean())
        return [share, *(stats.binom.ppf([0.025, 0.975], n, share) / n)]

    def accuracy_by(self) -> list[float]:
        frame = pd.DataFrame({"slice": self.image_id % 100, "right": self.y == self.p})
        return frame.groupby("slice")["right"].mean().tolist()

    def slices(self) -> list[float]:
        return self.errors(["camera"], ["day"], ["split"])

    def slice_pairs(self) -> list[float]:
        return self.errors(["camera", "day"], ["camera", "split"], ["day", "split"])

    def errors(self, *keys: list[str]) -> list[float]:
        """Images and mistakes of every slice, without the tests that the macros make of them."""
        frame = self.features.assign(wrong=self.y != self.p)
        counts = [frame.groupby(one, observed=True)["wrong"].agg(["size", "sum"]) for one in keys]
        return np.sort(np.concatenate([one.to_numpy().ravel() for one in counts])).tolist()

    def topk_accuracy(self) -> list[float]:
        return [sk.top_k_accuracy_score(self.y, self.probs, k=k) for k in (1, 3, 5)]

    def confusion_matrix(self) -> list[float]:
        return sk.confusion_matrix(self.y, self.p).ravel().tolist()

    def confusion_dense(self) -> list[float]:
        return sk.confusion_matrix(self.y, self.p, normalize="true").ravel().tolist()

    def per_class(self) -> list[float]:
        found = sk.precision_recall_fscore_support(self.y, self.p, average=None, zero_division=0)
        return [*found[0], *found[1], *found[2], *sk.jaccard_score(self.y, self.p, average=None)]

    def scores(self) -> list[float]:
        y, p = self.y, self.p
        return [
            sk.accuracy_score(y, p),
            sk.balanced_accuracy_score(y, p),
            *sk.precision_recall_fscore_support(y, p, average="macro", zero_division=0)[:3],
            sk.jaccard_score(y, p, average="macro"),
            *sk.precision_recall_fscore_support(y, p, average="weighted", zero_division=0)[:3],
            sk.f1_score(y, p, average="micro"),
            sk.cohen_kappa_score(y, p),
            sk.matthews_corrcoef(y, p),
        ]

    def scores_by(self) -> list[float]:
        found = []
        for slice_id in range(100):
            y, p = self.y[self.image_id % 100 == slice_id], self.p[self.image_id % 100 == slice_id]
            found += [sk.balanced_accuracy_score(y, p), sk.f1_score(y, p, average="macro")]
            found += [sk.cohen_kappa_score(y, p), sk.matthews_corrcoef(y, p)]
        return found

    def summary(self) -> list[float]:
        return [*self.accuracy(), float(self.c.mean(dtype=np.float64)), *self.scores()[1:]]

    def worst(self) -> list[float]:
        wrong = np.flatnonzero(self.y != self.p)
        order = np.lexsort((wrong, self.probs[wrong, self.y[wrong]], -self.c[wrong]))
        return wrong[order[:50]].tolist()

    def top_confusions(self) -> list[float]:
        cells = sk.confusion_matrix(self.y, self.p)
        np.fill_diagonal(cells, 0)
        return np.sort(cells.ravel())[::-1][:20].tolist()

    def check_run(self) -> list[float]:
        n = len(self.y)
        return [
            n - len(np.unique(self.image_id)),
            np.isnan(self.probs).any(axis=1).sum(),
            ((self.probs < 0) | (self.probs > 1)).any(axis=1).sum(),
            (abs(self.probs.sum(axis=1, dtype=np.float64) - 1) > 1e-3).sum(),
            (self.probs.argmax(axis=1) != self.p).sum(),
            (abs(self.probs[np.arange(n), self.p] - self.c) > 1e-3).sum(),
        ]

    def probability_scores(self) -> list[float]:
        brier = sk.brier_score_loss(self.y, self.probs, labels=range(self.classes), scale_by_half=False)
        return [sk.log_loss(self.y, self.probs), brier]

    def calibration(self) -> list[float]:
        probs, y = torch.from_numpy(self.probs), torch.from_numpy(self.y)
        norms = ("l1", "max", "l2")
        return [float(tm.multiclass_calibration_error(probs, y, self.classes, n_bins=15, norm=norm)) for norm in norms]

    def reliability(self) -> list[float]:
        found = sk_calibration.calibration_curve(self.y == self.p, self.c.astype(np.float64), n_bins=15)
        return [*found[0], *found[1]]

    def reliability_mass(self) -> list[float]:
        c = self.c.astype(np.float64)
        found = sk_calibration.calibration_curve(self.y == self.p, c, n_bins=10, strategy="quantile")
        return [*found[0], *found[1]]

    def ranking(self) -> list[float]:
        truth = np.eye(self.classes)[self.y]
        return [sk.roc_auc_score(truth, self.probs), sk.average_precision_score(truth, self.probs)]

    def entropy_scores(self) -> list[float]:
        return [float(stats.entropy(self.probs.astype(np.float64), axis=1).mean())]

    def selective(self) -> list[float]:
        wrong = (self.y != self.p)[np.argsort(-self.c, kind="stable")]
        return [float((np.cumsum(wrong) / np.arange(1, len(wrong) + 1)).mean())]


Rows = list[tuple[Any, ...]]


def columns(*indices: int) -> Callable[[Rows], list[float]]:
    """The chosen columns of a result, one after the other."""
    return lambda rows: [row[index] for index in indices for row in rows]


def sorted_counts(rows: Rows) -> list[float]:
    """Images and mistakes of slices, in the order of size."""
    return sorted(columns(2, 3)(rows))


# Macro call, reference, which of the macro's values to compare.
PLAN: dict[str, tuple[str, str, Callable[[Rows], list[float]]]] = {
    "accuracy": ("accuracy('run')", "sklearn + scipy", columns(2, 3, 4)),
    "accuracy_bootstrap": ("accuracy_bootstrap('run')", "scipy binom.ppf", columns(1, 2, 3)),
    "accuracy_by": ("accuracy_by('run', image_id % 100)", "pandas groupby", columns(3)),
    "topk_accuracy": ("topk_accuracy('run')", "sklearn", columns(3)),
    "confusion_matrix": ("confusion_matrix('run')", "sklearn", columns(2)),
    "confusion_dense": ("confusion_dense('run')", "sklearn", columns(3)),
    "top_confusions": ("top_confusions('run')", "sklearn", columns(2)),
    "per_class": ("per_class('run')", "sklearn", columns(4, 5, 6, 7)),
    "scores": ("scores('run')", "sklearn", lambda rows: list(rows[0][1:])),
    "scores_by": (
        "scores_by('run', image_id % 100)",
        "sklearn per slice",
        lambda rows: [row[index] for row in rows for index in (5, 8, 9, 10)],
    ),
    "slices": ("slices('run', ['camera', 'day', 'split'])", "pandas groupby", sorted_counts),
    "slice_pairs": ("slice_pairs('run', ['camera', 'day', 'split'])", "pandas groupby", sorted_counts),
    "summary": ("summary('run')", "sklearn + scipy", lambda rows: [row[1] for row in rows[3:]]),
    "worst": ("worst('run')", "numpy", columns(0)),
    "check_run": ("check_run('run')", "numpy", lambda rows: [rows[0][index] for index in (1, 8, 9, 10, 11, 12)]),
    "probability_scores": ("probability_scores('run')", "sklearn", columns(1, 2)),
    "calibration": ("calibration('run')", "torchmetrics", columns(1, 2, 3)),
    "reliability": ("reliability('run')", "sklearn", columns(5, 4)),
    "reliability_mass": ("reliability('run', 10, 'mass')", "sklearn", columns(5, 4)),
    "ranking": ("ranking('run')", "sklearn", columns(2, 4)),
    "entropy_scores": ("entropy_scores('run')", "scipy", columns(1)),
    "selective": ("selective('run')", "numpy", columns(1)),
}


def make(con: duckdb.DuckDBPyConnection, n: int, classes: int) -> Library:
    """Random softmax probabilities that know something about the label, as arrays and as the table `run`."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, classes, n)
    logits = rng.normal(size=(n, classes)).astype(np.float32)
    logits[np.arange(n), y] += 1.5
    probs = torch.softmax(torch.from_numpy(logits), dim=1).numpy()
    library = Library(y, probs)
    rows = {
        "image_id": library.image_id,
        "label": y.astype(np.int32),
        "pred": library.p.astype(np.int32),
        "confidence": library.c,
        "probs": pa.FixedSizeListArray.from_arrays(probs.ravel(), classes),
        **{name: pa.array(values) for name, values in library.features.items()},
    }
    con.register("made", pa.table(rows))
    con.execute("create table run as from made").fetchall()
    con.unregister("made")
    return library


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    found = work()
    return time.perf_counter() - start, found


def main(n: int = 1_000_000, classes: int = 10, turns: int = 5) -> None:
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        con = sqlanalysis.connect(Path(folder) / "bench.duckdb")
        library = make(con, n, classes)
        print(f"{n} x {classes}, duckdb {duckdb.__version__}, {torch.get_num_threads()} threads, {turns} turns\n")
        print("| macro | reference | max deviation | SQL s | ratio |\n|---|---|---|---|---|")
        for name, (call, reference, pick) in PLAN.items():
            ours, theirs = [], []
            for _ in range(turns):
                seconds, rows = timed(lambda call=call: con.execute(f"from {call}").fetchall())
                ours.append(seconds)
                seconds, expected = timed(getattr(library, name))
                theirs.append(seconds)
            deviation = np.abs(np.array(pick(rows), dtype=float) - np.array(expected, dtype=float)).max()
            sql, other = statistics.median(ours), statistics.median(theirs)
            print(f"| {name} | {reference} | {deviation:.0e} | {sql:.3f} | {sql / other:.3g} |", flush=True)
        con.close()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
