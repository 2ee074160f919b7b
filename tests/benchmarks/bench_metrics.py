"""Time every table macro against its reference, in one process, taking turns, and measure how far the answers differ.

    python tests/benchmarks/bench_metrics.py [--rows N] [--classes K] [--turns T] [--only NAME ...]

The library starts from numpy arrays in memory and gives arrays, SQL starts from a table of an evaluation file and
gives arrays. Medians over the turns. Prints two Markdown tables: one row per entry, then one row per reference. An
entry has a size of its own where its reference would take minutes or the metric is quadratic. "numpy" marks a
reference that no library offers: the formula written from scratch.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import torch
import torchmetrics.functional.classification as tm
from cleanlab import count as cl_count
from cleanlab import filter as cl_filter
from cleanlab import rank as cl_rank
from netcal.metrics import ECE, MCE
from scipy import optimize, sparse, stats
from scipy.spatial.distance import jensenshannon, pdist, squareform
from shared import lists, store, timed
from sklearn import metrics as sk
from sklearn.calibration import calibration_curve
from sklearn.neighbors import NearestNeighbors
from statsmodels.stats.contingency_tables import mcnemar as sm_mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

import sqlanalysis

Array = np.ndarray
Answer = dict[str, Array]  # what SQL gives, column by column
WIDTH, NEIGHBORS = 512, 10


class Data:
    """Two runs over the same images as arrays, and as the tables `run`, `other` and (up to 100,000 rows) `graph`."""

    def __init__(self, con: duckdb.DuckDBPyConnection, n: int, classes: int) -> None:
        rng = np.random.default_rng(0)
        self.n, self.classes, self.id = n, classes, np.arange(n)
        self.y = rng.integers(0, classes, n)
        logits = rng.normal(size=(n, classes)).astype(np.float32)
        logits[self.id, self.y] += 1.5
        self.probs = torch.softmax(torch.from_numpy(logits), dim=1).numpy()
        self.probs64 = self.probs.astype(np.float64)
        other = torch.softmax(torch.from_numpy(logits + 0.5 * rng.normal(size=(n, classes))), dim=1).numpy()
        self.p, self.c, self.p_other, self.c_other = (
            self.probs.argmax(1),
            self.probs.max(1),
            other.argmax(1),
            other.max(1),
        )
        self.right, self.right_other = self.y == self.p, self.y == self.p_other
        self.features = {"camera": rng.integers(0, 20, n), "batch": rng.integers(0, 200, n)}
        shared = {"image_id": self.id, "label": self.y.astype(np.int32), **self.features}
        if n <= 100_000:
            self.activation = rng.normal(size=(n, WIDTH)).astype(np.float32)
            shared["activation"] = lists(self.activation)
            self.near = (self.id[:, None] + rng.integers(1, n, (n, NEIGHBORS))) % n
            self.distance = np.sort(rng.random((n, NEIGHBORS)).astype(np.float32), axis=1)
            graph = {"image_id": self.id.repeat(NEIGHBORS), "neighbor_id": self.near.ravel()}
            graph |= {"rank": np.tile(np.arange(1, NEIGHBORS + 1), n), "distance": self.distance.ravel()}
            store(con, "graph", graph)
        for name, probs, p, c in (("run", self.probs, self.p, self.c), ("other", other, self.p_other, self.c_other)):
            rest = {"pred": p.astype(np.int32), "confidence": c.astype(np.float32), "probs": lists(probs)}
            store(con, name, shared | rest)


# References: what a user of the libraries would write, from arrays. Each gives the columns that its entry compares.


def wilson(k: Array, n: Array) -> tuple[Array, Array]:
    return proportion_confint(k, n, method="wilson")


def accuracy(d: Data) -> list[Any]:
    return [sk.accuracy_score(d.y, d.p), *wilson(d.right.sum(), d.n)]


def tm_accuracy(d: Data) -> list[Any]:
    return [tm.multiclass_accuracy(*tensors(d.p, d.y), d.classes, average="micro")]


def tensors(*arrays: Array) -> list[torch.Tensor]:
    return [torch.from_numpy(array) for array in arrays]


def accuracy_by(d: Data) -> list[Any]:
    table = pd.DataFrame({"slice": d.id % 100, "right": d.right}).groupby("slice")["right"].agg(["sum", "count"])
    k, n = table["sum"].to_numpy(), table["count"].to_numpy()
    return [k / n, *wilson(k, n)]


def topk(d: Data) -> list[Any]:
    return [[sk.top_k_accuracy_score(d.y, d.probs, k=k) for k in (1, 3, 5)]]


def tm_topk(d: Data) -> list[Any]:
    probs, y = tensors(d.probs, d.y)
    return [[tm.multiclass_accuracy(probs, y, d.classes, average="micro", top_k=k) for k in (1, 3, 5)]]


def confusion(d: Data) -> list[Any]:
    return [sk.confusion_matrix(d.y, d.p)]


def dense(d: Data) -> list[Any]:
    cells = sk.confusion_matrix(d.y, d.p)
    return [cells, cells / cells.sum(axis=1, keepdims=True), cells / cells.sum(axis=0)]


def top_confusions(d: Data) -> list[Any]:
    cells = sk.confusion_matrix(d.y, d.p)
    np.fill_diagonal(cells, 0)
    return [np.sort(cells.ravel())[::-1][:20]]


def per_class(d: Data) -> list[Any]:
    precision, recall, f1, support = sk.precision_recall_fscore_support(d.y, d.p, average=None)
    low, high = wilson(np.round(recall * support), support)
    return [precision, recall, f1, sk.jaccard_score(d.y, d.p, average=None), low, high]


def scores(d: Data) -> list[Any]:
    return sk_scores(d.y, d.p)


def sk_scores(y: Array, p: Array) -> list[Any]:
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


def scores_by(d: Data) -> list[Any]:
    rows = []
    for part in range(100):
        y, p = d.y[d.id % 100 == part], d.p[d.id % 100 == part]
        f1 = sk.f1_score(y, p, average="macro")
        rows.append([sk.balanced_accuracy_score(y, p), f1, sk.cohen_kappa_score(y, p), sk.matthews_corrcoef(y, p)])
    return list(np.array(rows).T)


def summary(d: Data) -> list[Any]:
    return [[*accuracy(d), d.c.mean(dtype=np.float64), *scores(d)[1:]]]


def worst_mistakes(d: Data) -> list[Any]:
    wrong = np.flatnonzero(~d.right)
    return [wrong[np.lexsort((wrong, d.probs[wrong, d.y[wrong]], -d.c[wrong]))][:50]]


def check_run(d: Data) -> list[Any]:
    return [
        d.n - len(np.unique(d.id)),
        np.isnan(d.probs).any(axis=1).sum(),
        ((d.probs < 0) | (d.probs > 1)).any(axis=1).sum(),
        (abs(d.probs.sum(axis=1, dtype=np.float64) - 1) > 1e-3).sum(),
        (d.probs.argmax(axis=1) != d.p).sum(),
        (abs(d.probs[d.id, d.p] - d.c) > 1e-3).sum(),
    ]


def proper_scores(d: Data) -> list[Any]:
    return [sk.log_loss(d.y, d.probs), sk.brier_score_loss(d.y, d.probs, scale_by_half=False)]


def entropy(d: Data) -> list[Any]:
    values = stats.entropy(d.probs64, axis=1)
    return [values.mean(), values[d.right].mean(), values[~d.right].mean()]


def netcal(equal: bool) -> Callable[[Data], list[Any]]:
    return lambda d: [measure(15, equal_intervals=equal).measure(d.probs, d.y) for measure in (ECE, MCE)]


def tm_calibration(d: Data) -> list[Any]:
    norms = ("l1", "max", "l2")
    return [tm.multiclass_calibration_error(*tensors(d.probs, d.y), d.classes, 15, norm) for norm in norms]


def calibration(strategy: str) -> Callable[[Data], list[Any]]:
    return lambda d: list(calibration_curve(d.right, d.c.astype(np.float64), n_bins=15, strategy=strategy))


def classwise(d: Data) -> list[Any]:
    rows = []
    for label in range(d.classes):
        p = d.probs64[:, label]
        bins = np.minimum((p * 15).astype(int), 14)
        gap = np.bincount(bins, p, 15) - np.bincount(bins, d.y == label, 15)
        rows.append([abs(gap).sum() / d.n, (abs(gap) / np.maximum(np.bincount(bins, minlength=15), 1)).max()])
    return list(np.array(rows).T)


def auc_per_class(d: Data) -> list[Any]:
    areas = sk.roc_auc_score(d.y, d.probs, multi_class="ovr", average=None)
    return [areas, sk.average_precision_score(d.y, d.probs, average=None)]


def auc(d: Data) -> list[Any]:
    weights = np.bincount(d.y)
    return [mean for areas in auc_per_class(d) for mean in (areas.mean(), np.average(areas, weights=weights))]


def tm_auc(d: Data) -> list[Any]:
    functions = (tm.multiclass_auroc, tm.multiclass_average_precision)
    return [
        area(*tensors(d.probs, d.y), d.classes, average=average)
        for area in functions
        for average in ("macro", "weighted")
    ]


def pr_curve(d: Data) -> list[Any]:
    precision, recall, thresholds = sk.precision_recall_curve(d.y == 1, d.probs[:, 1])
    fpr, _, _ = sk.roc_curve(d.y == 1, d.probs[:, 1], drop_intermediate=False)
    return [thresholds, precision[:-1], recall[:-1], fpr[:0:-1]]


def steps(d: Data) -> tuple[Array, Array, Array]:
    """Confidences from the highest on, images at least as confident, share of wrong answers among them; ties are one step."""
    order = np.argsort(-d.c)
    c = d.c[order]
    last = np.flatnonzero(np.append(c[1:] != c[:-1], True))
    return c[last], last + 1, np.cumsum(~d.right[order])[last] / (last + 1)


def risk_coverage(d: Data) -> list[Any]:
    c, kept, risk = steps(d)
    return [c[::-1], kept[::-1] / d.n, risk[::-1]]


def selective(d: Data) -> list[Any]:
    _, kept, risk = steps(d)
    area = (risk * np.diff(kept, prepend=0)).sum() / d.n
    wrong = int((~d.right).sum())
    best = (np.arange(1, wrong + 1) / (d.n - wrong + np.arange(1, wrong + 1))).sum() / d.n
    return [area, area - best, *reversed(threshold(d))]


def threshold(d: Data) -> list[Any]:
    """The lowest threshold whose answers reach 80 % by the lower end of their Wilson interval, and the share answered."""
    c, kept, risk = steps(d)
    passed = kept * (1 - risk) - 0.8 * kept >= stats.norm.ppf(0.975) * np.sqrt(kept * 0.8 * 0.2)
    last = np.flatnonzero(passed)[-1]
    return [c[last], kept[last] / d.n]


LEAST = 1.1754944e-38  # the least probability that counts: float32's


def temperature(d: Data) -> list[Any]:
    """Bounded minimization over 1 / temperature, as one would write it with numpy."""
    logits = np.log(np.maximum(d.probs, LEAST))
    logits -= logits.max(axis=1, keepdims=True)
    own = logits[d.id, d.y]

    def loss(beta: float) -> float:
        return float((np.log(np.exp(beta * logits).sum(axis=1)) - beta * own).mean())

    return [1 / optimize.minimize_scalar(loss, bounds=(0.01, 100), method="bounded", options={"xatol": 1e-6}).x]


def torch_temperature(d: Data) -> list[Any]:
    """What the code of Guo et al. does: LBFGS over the temperature."""
    probs, target = tensors(d.probs, d.y)
    logits, scale = probs.clamp_min(LEAST).log(), torch.ones((), requires_grad=True)
    optimizer = torch.optim.LBFGS([scale], max_iter=50, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        value = torch.nn.functional.cross_entropy(logits / scale, target)
        value.backward()
        return value

    optimizer.step(closure)
    return [scale.item()]


def softened(d: Data) -> list[Any]:
    (probs,) = tensors(d.probs)
    return [float((probs.clamp_min(LEAST).log() / 1.5).softmax(1).max(1).values.double().mean())]


def weighted(d: Data) -> list[Any]:
    return [sk.accuracy_score(d.y, d.p, sample_weight=1.0 + d.id % 3)]


def agreement(d: Data) -> list[Any]:
    lost, won = (~d.right & d.right_other).mean(), (d.right & ~d.right_other).mean()
    return [(d.p == d.p_other).mean(), lost, won, sk.cohen_kappa_score(d.p, d.p_other)]


def mcnemar(d: Data) -> list[Any]:
    return sm_tests(d.right, d.right_other)


def sm_tests(run: Array, baseline: Array) -> list[Any]:
    cells = np.bincount(2 * ~run + ~baseline, minlength=4).reshape(2, 2)
    return [cells[0, 1], cells[1, 0], *(sm_mcnemar(cells, exact=exact).pvalue for exact in (True, False))]


def merged(d: Data) -> pd.DataFrame:
    run = pd.DataFrame({"image_id": d.id, "label": d.y, "pred_run": d.p})
    return run.merge(pd.DataFrame({"image_id": d.id, "pred_baseline": d.p_other}), on="image_id")


def merged_mcnemar(d: Data) -> list[Any]:
    both = merged(d)
    return sm_tests(*((both[name] == both["label"]).to_numpy() for name in ("pred_run", "pred_baseline")))


def paired(d: Data) -> list[Any]:
    both = merged(d)
    return [*both.to_numpy().T, both["pred_run"] == both["label"], both["pred_baseline"] == both["label"]]


def resampled(d: Data, *runs: Array) -> Array:
    """Accuracy, balanced accuracy, macro F1, kappa and Matthews correlation of 1000 row resamples of each run."""
    rng, rows_of_scores = np.random.default_rng(1), []
    for _ in range(1000):
        rows = rng.integers(0, d.n, d.n)
        y = d.y[rows]
        rows_of_scores.append([margin_scores(y, run[rows], d.classes) for run in runs])
    return np.array(rows_of_scores)


def margin_scores(y: Array, p: Array, classes: int) -> list[float]:
    n, tp, support, guessed = len(y), *(np.bincount(values, minlength=classes) for values in (y[y == p], y, p))
    both = tp.sum() / n - support @ guessed / n**2
    spread = np.sqrt((1 - support @ support / n**2) * (1 - guessed @ guessed / n**2))
    kappa = both / (1 - support @ guessed / n**2)
    present = support > 0
    balanced = (tp[present] / support[present]).mean()
    met = support + guessed > 0
    return [tp.sum() / n, balanced, (2 * tp[met] / (support + guessed)[met]).mean(), kappa, both / spread]


def bootstrap(d: Data) -> list[Any]:
    values = resampled(d, d.p)[:, 0]
    return [values.std(0, ddof=1), *np.quantile(values, [0.025, 0.975], axis=0)]


def paired_bootstrap(d: Data) -> list[Any]:
    values = resampled(d, d.p, d.p_other)[:, :, :3]
    return list(np.quantile(values[:, 0] - values[:, 1], [0.025, 0.975], axis=0))


def counted(d: Data, names: Iterable[str]) -> pd.DataFrame:
    frame = pd.DataFrame({**d.features, "wrong": ~d.right})
    return frame.groupby(list(names))["wrong"].agg(["sum", "count"])


def fisher(k: Array, n: Array, whole_k: Array, whole_n: Array) -> Array:
    """One-sided p: is a slice worse than the rest of a whole."""
    return stats.hypergeom.sf(k - 1, whole_n, whole_k, n)


def ranked(names: list[str], k: Array, n: Array, p: Array) -> list[Any]:
    """Lower ends and corrected p, worst lower end first."""
    low, _ = wilson(k, n)
    order = np.lexsort((names, -low))
    corrected = (multipletests(p, method=method)[1] for method in ("holm", "fdr_bh"))
    return [values[order] for values in (low, p, *corrected)]


def slices(d: Data) -> list[Any]:
    table = pd.concat([counted(d, [name]) for name in d.features], keys=d.features)
    k, n = table["sum"].to_numpy(), table["count"].to_numpy()
    names = [f"{feature} {value}" for feature, value in table.index]
    return ranked(names, k, n, fisher(k, n, (~d.right).sum(), d.n))


def slice_pairs(d: Data) -> list[Any]:
    """A pair must be worse than the rest of all images and of either part: the largest of three p."""
    table = counted(d, d.features)
    k, n = table["sum"].to_numpy(), table["count"].to_numpy()
    p = fisher(k, n, (~d.right).sum(), d.n)
    for level, name in enumerate(d.features):
        part = counted(d, [name]).loc[table.index.get_level_values(level)]
        p = np.maximum(p, fisher(k, n, part["sum"].to_numpy(), part["count"].to_numpy()))
    return ranked([f"{first} × {second}" for first, second in table.index], k, n, p)


def bare_slices(d: Data) -> list[Any]:
    groups = [counted(d, [name]) for name in d.features]
    return [np.sort(np.concatenate([group["sum"] / group["count"] for group in groups]))]


def bare_pairs(d: Data) -> list[Any]:
    group = counted(d, d.features)
    return [np.sort(group["sum"] / group["count"])]


def thresholds(d: Data) -> list[Any]:
    return [cl_count.get_confident_thresholds(d.y, d.probs64)]


def joint(d: Data) -> list[Any]:
    raw = cl_count.compute_confident_joint(d.y, d.probs64, calibrate=False)
    return [raw[raw > 0], cl_count.calibrate_confident_joint(raw, d.y)[raw > 0]]


def issues(d: Data) -> list[Any]:
    options = {"filter_by": "confident_learning", "return_indices_ranked_by": "self_confidence"}
    return [cl_filter.find_label_issues(d.y, d.probs64, **options)]


def quality(d: Data) -> list[Any]:
    names = ("self_confidence", "normalized_margin")
    own, margin = (cl_rank.get_label_quality_scores(d.y, d.probs64, method=name) for name in names)
    order = np.lexsort((d.id, own))
    return [order, own[order], margin[order]]


def cosine(d: Data) -> list[Any]:
    distance = sk.pairwise.cosine_distances(d.activation[5:6], d.activation)[0]
    distance[5] = np.inf
    order = np.argpartition(distance, 10)[:10]
    order = order[np.argsort(distance[order])]
    return [order, distance[order]]


def nearest(d: Data) -> list[Any]:
    model = NearestNeighbors(n_neighbors=NEIGHBORS, algorithm="brute", metric="cosine").fit(d.activation)
    distance, _ = model.kneighbors()  # not the neighbors: of two at nearly equal distance rounding chooses
    return [distance.ravel()]


def pairs(d: Data) -> pd.DataFrame:
    rows, columns = np.nonzero(d.distance <= 0.02)
    ends = np.sort(np.stack([rows, d.near[rows, columns]], axis=1), axis=1)
    frame = pd.DataFrame({"a": ends[:, 0], "b": ends[:, 1], "distance": d.distance[rows, columns]})
    return frame.groupby(["a", "b"], as_index=False)["distance"].min()


def near_duplicates(d: Data) -> list[Any]:
    near = pairs(d).sort_values(["distance", "a", "b"])
    return [near["a"], near["b"], near["distance"]]


def duplicate_groups(d: Data) -> list[Any]:
    near = pairs(d)
    graph = sparse.coo_array((np.ones(len(near)), (near["a"], near["b"])), shape=(d.n, d.n))
    group = sparse.csgraph.connected_components(graph, directed=False)[1]
    sizes = np.bincount(group)[group]
    return [np.sort(np.flatnonzero(sizes > 1)), np.sort(sizes[sizes > 1])]


def outliers(d: Data) -> list[Any]:
    mean = d.distance.mean(axis=1, dtype=np.float64)
    order = np.lexsort((d.id, -mean))
    return [mean[order], d.distance[order, -1], (stats.rankdata(mean, "max") / d.n)[order]]


def neighbor_agreement(d: Data) -> list[Any]:
    votes = d.y[d.near]
    purity = (votes == d.y[:, None]).mean(axis=1)
    order = np.lexsort((d.id, purity))
    return [order, purity[order], stats.mode(votes, axis=1).mode[order]]


def class_purity(d: Data) -> list[Any]:
    images, *columns_by_purity = neighbor_agreement(d)
    purity, vote = (values[np.argsort(images)] for values in columns_by_purity)
    frame = pd.DataFrame({"class": d.y, "purity": purity, "right": vote == d.y, "alone": purity == 0})
    table = frame.groupby("class").agg({"purity": "mean", "right": "mean", "alone": "sum"}).sort_values("purity")
    return [table["purity"], table["right"], table["alone"]]


def psi(p: Array, q: Array) -> float:
    p, q = np.maximum(p, 1e-4), np.maximum(q, 1e-4)
    return float(((q - p) * np.log(q / p)).sum())


def psi_numeric(d: Data) -> list[Any]:
    edges = np.quantile(d.c.astype(np.float64), np.arange(1, 10) / 10)
    shares = (np.bincount(np.searchsorted(edges, c, side="right"), minlength=10) / d.n for c in (d.c, d.c_other))
    return [psi(*shares)]


def psi_category(d: Data) -> list[Any]:
    p, q = (np.bincount(preds, minlength=d.classes) / d.n for preds in (d.p, d.p_other))
    return [psi(p, q), jensenshannon(p, q), abs(p - q).sum() / 2]


def ks(d: Data) -> list[Any]:
    test = stats.ks_2samp(d.c, d.c_other, method="asymp")
    return [test.statistic, test.pvalue]


def mmd(d: Data) -> list[Any]:
    n, points = d.n // 2, d.activation.astype(np.float64)
    gaps = pdist(points, "sqeuclidean")
    gamma = 1 / np.median(gaps)
    kernel = squareform(np.exp(-gamma * gaps))
    inside = (kernel[:n, :n].sum() + kernel[n:, n:].sum()) / (n * (n - 1))
    return [inside - 2 * kernel[:n, n:].mean(), gamma]


# How to compare: each gives the deviation from (what SQL found, what the reference gives).


def columns(names: str) -> Callable[[Answer, list[Any]], float]:
    """The largest difference between these columns, in the order of the rows."""

    def compare(answer: Answer, expected: list[Any]) -> float:
        pairs = [
            (np.ma.filled(answer[name], np.nan), np.ravel(values))
            for name, values in zip(names.split(), expected, strict=True)
        ]
        sizes = [(len(ours), len(theirs)) for ours, theirs in pairs]
        assert all(ours == theirs for ours, theirs in sizes), sizes
        return max(float(np.max(np.abs(ours.astype(float) - theirs), initial=0)) for ours, theirs in pairs)

    return compare


def by_image(names: str) -> Callable[[Answer, list[Any]], float]:
    """The same, in the order of image_id, where SQL promises none."""

    def compare(answer: Answer, expected: list[Any]) -> float:
        order = np.argsort(answer["image_id"])
        return columns(names)({name: values[order] for name, values in answer.items()}, expected)

    return compare


def tail(start: int) -> Callable[[Answer, list[Any]], float]:
    """The values of a relation of names and values, from one row on."""
    return lambda answer, expected: columns("value")(
        {"value": answer["value"][start : start + np.size(expected[0])]}, expected
    )


def curve(names: str) -> Callable[[Answer, list[Any]], float]:
    """A curve at the thresholds that SQL gives; the reference has all of them, in rising order."""

    def compare(answer: Answer, expected: list[Any]) -> float:
        rows = np.searchsorted(expected[0], answer["threshold"].astype(expected[0].dtype))
        return columns(f"threshold {names}")(answer, [values[rows] for values in expected])

    return compare


def same_rows(answer: Answer, expected: list[Any]) -> str:
    """How many images one side lists and the other does not; when none, how many are elsewhere."""
    ours, theirs = answer["image_id"], expected[0]
    missing = len(np.setxor1d(ours, theirs))
    moved = int((ours != theirs).sum()) if not missing else 0
    return f"{missing} of {len(theirs)} rows" + (f", {moved} moved" if moved else "")


def ends_by_metric(answer: Answer, expected: list[Any]) -> float:
    return columns("ci_low ci_high")({name: answer[name] for name in ("ci_low", "ci_high")}, expected)


def sorted_rates(answer: Answer, expected: list[Any]) -> float:
    return columns("rate")({"rate": np.sort(answer["error_rate"])}, expected)


def sorted_groups(answer: Answer, expected: list[Any]) -> float:
    return columns("image_id group_size")(
        {name: np.sort(answer[name]) for name in ("image_id", "group_size")}, expected
    )


@dataclass(frozen=True)
class Entry:
    """A call of a macro, the reference's name and function, how to compare, the rows if not all, and what is selected."""

    call: str
    reference: str
    library: Callable[[Data], list[Any]]
    compare: Callable[[Answer, list[Any]], float | str]
    rows: int | None = None
    select: str = ""

    @property
    def macro(self) -> str:
        return self.call.partition("(")[0]


TESTS = "ci_low p_value p_holm p_bh"
SCORES = (
    "accuracy balanced_accuracy precision_macro recall_macro f1_macro jaccard_macro precision_weighted "
    "recall_weighted f1_weighted f1_micro cohen_kappa mcc"
)
FAULTS = "duplicate_images nan_probs outside_0_1 sum_not_1 pred_not_argmax confidence_differs"
MCNEMAR = "run_only baseline_only p_exact p_chi2"
AREAS = "roc_auc_macro roc_auc_weighted map_macro map_weighted"
ENTRIES = [
    Entry("accuracy('run')", "sklearn + statsmodels", accuracy, columns("accuracy ci_low ci_high")),
    Entry("accuracy('run')", "torchmetrics", tm_accuracy, columns("accuracy")),
    Entry(
        "accuracy_by('run', image_id % 100)", "pandas + statsmodels", accuracy_by, columns("accuracy ci_low ci_high")
    ),
    Entry("topk_accuracy('run')", "sklearn", topk, columns("accuracy")),
    Entry("topk_accuracy('run')", "torchmetrics", tm_topk, columns("accuracy")),
    Entry("confusion_matrix('run')", "sklearn", confusion, columns("n")),
    Entry("confusion_dense('run')", "sklearn", dense, columns("n recall_share precision_share")),
    Entry("top_confusions('run')", "sklearn", top_confusions, columns("n")),
    Entry(
        "per_class('run')",
        "sklearn + statsmodels",
        per_class,
        columns("precision recall f1 jaccard recall_low recall_high"),
    ),
    Entry("scores('run')", "sklearn", scores, columns(SCORES)),
    Entry(
        "scores_by('run', image_id % 100)",
        "sklearn",
        scores_by,
        columns("balanced_accuracy f1_macro cohen_kappa mcc"),
    ),
    Entry("summary('run')", "sklearn + statsmodels", summary, tail(3)),
    Entry("worst_mistakes('run')", "numpy", worst_mistakes, columns("image_id")),
    Entry("check_run('run')", "numpy", check_run, columns(FAULTS)),
    Entry("proper_scores('run')", "sklearn", proper_scores, columns("log_loss brier")),
    Entry("predictive_entropy('run')", "scipy", entropy, columns("mean_entropy mean_entropy_right mean_entropy_wrong")),
    Entry("calibration_error('run')", "netcal", netcal(True), columns("ece mce")),
    Entry("calibration_error('run')", "torchmetrics", tm_calibration, columns("ece mce rmsce")),
    Entry("calibration_error('run', strategy := 'quantile')", "netcal", netcal(False), columns("ece mce")),
    Entry("calibration_curve('run')", "sklearn", calibration("uniform"), columns("accuracy confidence")),
    Entry(
        "calibration_curve('run', strategy := 'quantile')",
        "sklearn",
        calibration("quantile"),
        columns("accuracy confidence"),
    ),
    Entry("calibration_error_per_class('run')", "numpy", classwise, columns("ece mce")),
    Entry("auc('run')", "sklearn", auc, columns(AREAS)),
    Entry("auc('run')", "torchmetrics", tm_auc, columns(AREAS)),
    Entry("auc_per_class('run')", "sklearn", auc_per_class, columns("roc_auc average_precision")),
    Entry("pr_curve('run', 1)", "sklearn", pr_curve, curve("precision recall fpr")),
    Entry("risk_coverage('run')", "numpy", risk_coverage, curve("coverage risk")),
    Entry(
        "selective_risk('run', target_accuracy := 0.8)",
        "numpy",
        selective,
        columns("aurc eaurc coverage_at_target threshold_at_target"),
    ),
    Entry("threshold_for('run', target_accuracy := 0.8)", "numpy", threshold, columns("threshold coverage")),
    Entry("weighted_accuracy('run', 1 + image_id % 3)", "sklearn", weighted, columns("accuracy")),
    Entry("fit_temperature('run')", "scipy", temperature, columns("temperature")),
    Entry("fit_temperature('run')", "torch LBFGS", torch_temperature, columns("temperature")),
    Entry("with_temperature('run', 1.5)", "torch", softened, columns("mean"), select="select avg(confidence) as mean "),
    Entry(
        "paired('run', 'other')",
        "pandas",
        paired,
        by_image("image_id label pred_run pred_baseline correct_run correct_baseline"),
    ),
    Entry("mcnemar('run', 'other')", "pandas + statsmodels", merged_mcnemar, columns(MCNEMAR)),
    Entry("mcnemar('run', 'other')", "statsmodels, no join", mcnemar, columns(MCNEMAR)),
    Entry(
        "agreement('run', 'other')",
        "sklearn, no join",
        agreement,
        columns("agreement negative_flips positive_flips kappa"),
    ),
    Entry("bootstrap_ci('run')", "numpy (Monte Carlo)", bootstrap, columns("std_error ci_low ci_high"), 100_000),
    Entry("paired_bootstrap('run', 'other')", "numpy (Monte Carlo)", paired_bootstrap, ends_by_metric, 100_000),
    Entry("slices('run', ['camera', 'batch'], min_n := 1)", "pandas + scipy + statsmodels", slices, columns(TESTS)),
    Entry("slices('run', ['camera', 'batch'], min_n := 1)", "pandas, no tests", bare_slices, sorted_rates),
    Entry(
        "slice_pairs('run', ['camera', 'batch'], min_n := 1)",
        "pandas + scipy + statsmodels",
        slice_pairs,
        columns(TESTS),
    ),
    Entry("slice_pairs('run', ['camera', 'batch'], min_n := 1)", "pandas, no tests", bare_pairs, sorted_rates),
    Entry("confident_thresholds('run')", "cleanlab", thresholds, columns("threshold")),
    Entry("confident_joint('run')", "cleanlab", joint, columns("raw calibrated")),
    Entry("label_quality('run')", "cleanlab", quality, columns("image_id self_confidence normalized_margin")),
    Entry("label_issues('run')", "cleanlab", issues, same_rows),
    Entry("similar_to('run', 5)", "sklearn", cosine, columns("image_id distance"), 100_000),
    Entry("knn_graph('run')", "sklearn", nearest, columns("distance"), 4_000),
    Entry("near_duplicates('graph', 0.02)", "pandas", near_duplicates, columns("image_a image_b distance"), 100_000),
    Entry("duplicate_groups('graph', 0.02)", "scipy", duplicate_groups, sorted_groups, 100_000),
    Entry("knn_outliers('graph')", "scipy", outliers, columns("mean_distance kth_distance percentile"), 100_000),
    Entry(
        "neighbor_agreement('run', 'graph')",
        "scipy",
        neighbor_agreement,
        columns("image_id purity neighbor_label"),
        100_000,
    ),
    Entry("class_purity('run', 'graph')", "scipy", class_purity, columns("purity knn_accuracy isolated"), 100_000),
    Entry("psi_numeric('run', 'other', confidence)", "numpy", psi_numeric, columns("psi")),
    Entry("psi_category('run', 'other', pred)", "scipy", psi_category, columns("psi js_distance total_variation")),
    Entry("ks_test('run', 'other', confidence)", "scipy", ks, columns("d p_value")),
    Entry("mmd('first_half', 'second_half')", "scipy", mmd, columns("mmd2 gamma"), 1_000),
]


@dataclass(frozen=True)
class Row:
    """What one entry measured."""

    entry: Entry
    n: int
    deviation: float | str
    sql: float
    library: float

    @property
    def off(self) -> str:
        return self.deviation if isinstance(self.deviation, str) else f"{self.deviation:.0e}".replace("0e+00", "0")

    @property
    def ratio(self) -> float:
        return self.sql / self.library


def measure(con: duckdb.DuckDBPyConnection, entry: Entry, data: Data, turns: int) -> Row:
    ours, theirs = [], []
    for _ in range(turns):
        seconds, answer = timed(lambda: con.execute(f"{entry.select}from {entry.call}").fetchnumpy())
        ours.append(seconds)
        seconds, expected = timed(lambda: entry.library(data))
        theirs.append(seconds)
    deviation = entry.compare(answer, expected)
    return Row(entry, data.n, deviation, statistics.median(ours), statistics.median(theirs))


def run(rows: int, classes: int, turns: int, only: list[str]) -> list[Row]:
    """Measure the entries, size by size."""
    wanted = [entry for entry in ENTRIES if not only or entry.macro in only]
    rows_of = {}
    with tempfile.TemporaryDirectory() as folder:
        con = sqlanalysis.connect(Path(folder) / "bench.duckdb")
        for size in sorted({min(entry.rows or rows, rows) for entry in wanted}):
            data = Data(con, size, classes)
            for half, test in (("first_half", "<"), ("second_half", ">=")):
                con.execute(f"create or replace view {half} as from run where image_id {test} {size // 2}").fetchall()
            for entry in wanted:
                if min(entry.rows or rows, rows) == size:
                    rows_of[entry.call, entry.reference] = measure(con, entry, data, turns)
        con.close()
    return [rows_of[entry.call, entry.reference] for entry in wanted]


def show(rows: list[Row]) -> None:
    print("| macro | reference | n | max deviation | SQL s | ratio |\n|---|---|---|---|---|---|")
    for row in rows:
        name = row.entry.macro + (" (quantile)" if "quantile" in row.entry.call else "")
        print(f"| {name} | {row.entry.reference} | {row.n:,} | {row.off} | {row.sql:.3f} | {row.ratio:.3g} |")


def show_short(rows: list[Row]) -> None:
    """One row per reference: the largest deviation, and every macro with its share of the reference's time."""
    print("\n| reference | time of SQL / time of the reference | max deviation |\n|---|---|---|")
    for reference in dict.fromkeys(row.entry.reference for row in rows):
        mine = [row for row in rows if row.entry.reference == reference]
        ratios = ", ".join(f"{row.entry.macro} {row.ratio:.2g}" for row in mine)
        numbers = [row for row in mine if not isinstance(row.deviation, str)]
        worst = [max(numbers, key=lambda row: row.deviation).off] if numbers else []
        print(f"| {reference} | {ratios} | {'; '.join(worst + [row.off for row in mine if row not in numbers])} |")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--only", nargs="*", default=[])
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    print(f"{given.rows:,} rows x {given.classes} classes, duckdb {duckdb.__version__}, ", end="")
    print(f"{torch.get_num_threads()} threads, medians of {given.turns} turns\n")
    rows = run(given.rows, given.classes, given.turns, given.only)
    show(rows)
    show_short(rows)


if __name__ == "__main__":
    main()
