"""Data sets from models whose truth is known, for coverage of intervals: what the short and the long form share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
from scipy import stats

from sqlanalysis.db import templates


def labels_and_answers(classes: int, each: int, seed: int, fixed: bool) -> tuple[np.ndarray, np.ndarray, float]:
    """Labels, predictions and the true macro F1 of a classifier whose recall differs by class.

    `fixed`: every class has the same number of images, as in ImageNet; else the labels are sampled like the images.
    """
    recall = np.random.default_rng(classes).uniform(0.55, 0.95, classes)
    guessed = recall + ((1 - recall).sum() - (1 - recall)) / (classes - 1)
    rng, n = np.random.default_rng(seed), classes * each
    y = np.arange(n) % classes if fixed else rng.integers(0, classes, n)
    right = rng.random(n) < recall[y]
    p = np.where(right, y, (y + rng.integers(1, classes, n)) % classes)
    return y, p, float((2 * recall / (1 + guessed)).mean())


def macro_f1(y: np.ndarray, p: np.ndarray, classes: int) -> float:
    both = np.bincount(y, minlength=classes) + np.bincount(p, minlength=classes)
    hits = np.bincount(y[y == p], minlength=classes)
    return float((2 * hits[both > 0] / both[both > 0]).mean())


def f1_interval(y: np.ndarray, p: np.ndarray, classes: int, n_resamples: int, seed: int) -> tuple[float, float]:
    """bootstrap_ci's interval in numpy: percentiles less once and twice the bias; the estimate lies within."""
    rng, values = np.random.default_rng(seed + 10**6), []
    for _ in range(n_resamples):
        rows = rng.integers(0, len(y), len(y))
        values.append(macro_f1(y[rows], p[rows], classes))
    estimate = macro_f1(y, p, classes)
    bias = float(np.mean(values)) - estimate
    low, high = np.quantile(values, [0.025, 0.975])
    return min(low - bias, low - 2 * bias, estimate), max(high - bias, high - 2 * bias, estimate)


def binormal(n: int, share: float, shift: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Two classes and a score, normal in both, shifted in class 1: its area under the ROC curve is known."""
    rng = np.random.default_rng(seed)
    y = (rng.random(n) < share).astype(int)
    return y, rng.normal(size=n) + shift * y


def gaps_of_bins(c: np.ndarray, accuracy: np.ndarray) -> float:
    """ECE in 15 bins of equal width, given the true accuracy of each confidence."""
    bins = np.minimum((c * 15).astype(int), 14)
    return float(abs(np.bincount(bins, c - accuracy, 15)).sum() / len(c))


def sharpness(c: np.ndarray, power: float) -> np.ndarray:
    """The true accuracy behind a confidence: power 1 is calibrated, below 1 overconfident."""
    odds = (c / (1 - c)) ** power
    return odds / (1 + odds)


def answer(con: duckdb.DuckDBPyConnection, columns: dict[str, np.ndarray], select: str) -> tuple[Any, ...]:
    """The one row that a query gives for a relation `made` of these columns."""
    con.register("made", pa.table({name: values.tolist() for name, values in columns.items()}))
    (row,) = con.execute(select).fetchall()
    return tuple(row)


def area_hits(con: duckdb.DuckDBPyConnection, sets: int, n: int, share: float, shift: float) -> Iterator[list[bool]]:
    """Whether the intervals of AUC and average precision of class 1 hold the truth."""
    from sklearn import metrics as sk

    area = stats.norm.cdf(shift / np.sqrt(2))
    precision = sk.average_precision_score(*binormal(1_000_000, share, shift, 10**6))
    for seed in range(sets):
        y, score = binormal(n, share, shift, seed)
        p = 1 / (1 + np.exp(-score))
        select = "select [roc_auc_low, roc_auc_high], [average_precision_low, average_precision_high]"
        columns = {"label": y, "pred": y, "probs": np.stack([1 - p, p], axis=1)}
        found = answer(con, columns, f"{select} from auc_per_class('made') where class = 1")
        yield [bool(low <= truth <= high) for (low, high), truth in zip(found, (area, precision), strict=True)]


def ece_hits(con: duckdb.DuckDBPyConnection, sets: int, n: int, power: float) -> Iterator[bool]:
    """Whether the interval of ECE holds that of the model, which is overconfident where power is below 1."""
    many = np.random.default_rng(1).beta(5, 2, 1_000_000)
    truth = gaps_of_bins(many, sharpness(many, power))
    for seed in range(sets):
        rng = np.random.default_rng(seed + 10)
        c = rng.beta(5, 2, n)
        label = (rng.random(n) >= sharpness(c, power)).astype(int)
        columns = {"label": label, "pred": np.zeros(n, int), "confidence": c}
        low, high = answer(con, columns, "select ece_low, ece_high from calibration_error('made')")
        yield low <= truth <= high


def loss_hits(con: duckdb.DuckDBPyConnection, sets: int, n: int) -> Iterator[bool]:
    """Whether the interval of the log loss of a calibrated model of two classes holds its entropy."""
    many = np.random.default_rng(1).beta(5, 2, 1_000_000)
    truth = float(-(many * np.log(many) + (1 - many) * np.log1p(-many)).mean())
    for seed in range(sets):
        rng = np.random.default_rng(seed + 10)
        c = rng.beta(5, 2, n)
        label = (rng.random(n) >= c).astype(int)
        columns = {"label": label, "pred": label, "confidence": c, "probs": np.stack([c, 1 - c], axis=1)}
        low, high = answer(con, columns, "select log_loss_low, log_loss_high from proper_scores('made')")
        yield low <= truth <= high


def class_hits(con: duckdb.DuckDBPyConnection, sets: int, classes: int, each: int) -> Iterator[list[bool]]:
    """Whether the intervals of precision, recall and F1 of class 0 hold the truth."""
    recall = np.random.default_rng(classes).uniform(0.55, 0.95, classes)
    guessed = float(recall[0] + (1 - recall[1:]).sum() / (classes - 1))
    truths = {"precision": recall[0] / guessed, "recall": recall[0], "f1": 2 * recall[0] / (1 + guessed)}
    for seed in range(sets):
        y, p, _ = labels_and_answers(classes, each, seed, False)
        ends = ", ".join(f"[{name}_low, {name}_high]" for name in truths)
        found = answer(con, {"label": y, "pred": p}, f"select {ends} from per_class('made') where class = 0")
        yield [bool(low <= truth <= high) for (low, high), truth in zip(found, truths.values(), strict=True)]


def grouped(groups: int, size: int, icc: float, p: float, seed: int, runs: int = 1) -> dict[str, np.ndarray]:
    """Answers to images in groups, beta-binomial with that correlation within a group; of `runs` runs, each its own."""
    rng = np.random.default_rng(seed)
    cluster = np.repeat(np.arange(groups), size)
    share = rng.beta(p * (1 / icc - 1), (1 - p) * (1 / icc - 1), (runs, groups))
    right = rng.random((runs, len(cluster))) < share[:, cluster]
    zeros = np.zeros(len(cluster), int)
    return {"image_id": np.arange(len(cluster)), "label": zeros, "patient": cluster} | {
        f"pred_{run}": np.where(right[run], 0, 1) for run in range(runs)
    }


def group_interval(right: np.ndarray, cluster: np.ndarray) -> tuple[float, float]:
    """accuracy's interval with groups, its formula in numpy: Wilson at the effective number of images."""
    sizes, hits = np.bincount(cluster), np.bincount(cluster, right)
    n, k, size = sizes.sum(), hits.sum(), (sizes**2).sum() / sizes.sum()
    share = (k + size / 2) / (n + size)
    # Half a group of typical size that is all right, and half of one that is all wrong.
    spread = ((hits - share * sizes) ** 2).sum() + size**2 * (share**2 + (1 - share) ** 2) / 2
    z, df = stats.norm.ppf(0.975), n / size - 1
    enough = n / max(1, spread / (n * share * (1 - share))) * (z / stats.t.ppf(0.975, df)) ** 2
    middle, width = k / n * enough + z**2 / 2, z * np.sqrt(k / n * (1 - k / n) * enough + z**2 / 4)
    return (middle - width) / (enough + z**2), (middle + width) / (enough + z**2)


def group_hits(
    con: duckdb.DuckDBPyConnection, sets: int, groups: int, size: int, icc: float, p: float
) -> Iterator[bool]:
    """Whether the interval of accuracy with groups holds the truth."""
    for seed in range(sets):
        made = grouped(groups, size, icc, p, seed)
        columns = made | {"pred": made["pred_0"]}
        low, high = answer(con, columns, "select ci_low, ci_high from accuracy('made', groups := patient)")
        yield low <= p <= high


def group_hits_by_numpy(
    con: duckdb.DuckDBPyConnection, sets: int, groups: int, size: int, icc: float, p: float
) -> Iterator[bool]:
    for seed in range(sets):
        made = grouped(groups, size, icc, p, seed)
        low, high = group_interval(made["pred_0"] == 0, made["patient"])
        yield bool(low <= p <= high)


def group_tests(
    con: duckdb.DuckDBPyConnection, sets: int, groups: int, size: int, icc: float, p: float, by: str = "patient"
) -> Iterator[bool]:
    """Whether the verdict on two equally good runs claims no difference."""
    for seed in range(sets):
        made = grouped(groups, size, icc, p, seed, 2)
        con.register("made", pa.table({name: values.tolist() for name, values in made.items()}))
        query = (
            "with a as (select *, pred_0 as pred from made), b as (select *, pred_1 as pred from made) "
            f"select p_exact, ci_low <= 0 and ci_high >= 0 from mcnemar('b', 'a', groups := {by})"
        )
        ((p_value, holds),) = con.execute(query).fetchall()
        assert holds == (p_value > 0.05), "interval and p disagree"
        yield holds


def group_resamples(
    con: duckdb.DuckDBPyConnection, sets: int, groups: int, size: int, icc: float, p: float
) -> Iterator[bool]:
    """Whether bootstrap_ci's interval of accuracy with groups holds the truth."""
    for seed in range(sets):
        made = grouped(groups, size, icc, p, seed)
        select = "select ci_low, ci_high from bootstrap_ci('made', n_resamples := 300, groups := patient)"
        select += " where metric = 'accuracy'"
        low, high = answer(con, made | {"pred": made["pred_0"]}, select)
        yield low is not None and low <= p <= high


def answers_in_groups(
    groups: int, size: int, icc: float, p: float, seed: int, drop: float = 0.0, nested: bool = False,
    uneven: bool = False, classes: int = 10, alike: float = 0.5,
) -> dict[str, np.ndarray]:  # fmt: skip
    """Labels and the answers of two runs to images in groups; run 0 is right with probability p, run 1 with p - drop.

    Beta-binomial within a group as in `grouped`, wrong answers evenly over the other classes. `alike`: the share of
    groups that are as hard for both runs, and of images whose answers depend on the same chance. `nested`: the images
    of a group have one label, and what is wrong in a group is the same class. `uneven`: sizes are geometric.
    """
    rng = np.random.default_rng(seed)
    sizes = rng.geometric(1 / size, groups) if uneven else np.full(groups, size)
    cluster = np.repeat(np.arange(groups), sizes)
    n = len(cluster)
    hard, chance = rng.random((2, groups)), rng.random((2, n))
    hard[1] = np.where(rng.random(groups) < alike, hard[0], hard[1])
    chance[1] = np.where(rng.random(n) < alike, chance[0], chance[1])
    label = cluster % classes if nested else rng.integers(0, classes, n)
    others = rng.integers(1, classes, (2, groups))[:, cluster] if nested else rng.integers(1, classes, (2, n))
    columns = {"image_id": np.arange(n), "label": label, "patient": cluster}
    for run, share in enumerate((p, p - drop)):
        quality = stats.beta.ppf(hard[run], share * (1 / icc - 1), (1 - share) * (1 / icc - 1))
        right = chance[run] < quality[cluster]
        columns[f"pred_{run}"] = np.where(right, label, (label + others[run]) % classes)
    return columns


def ends_of_runs(con: duckdb.DuckDBPyConnection, columns: dict[str, np.ndarray], call: str) -> list[tuple[Any, ...]]:
    """The rows of a call over the runs a (pred_0) and b (pred_1) of these columns."""
    con.register("made", pa.table({name: values.tolist() for name, values in columns.items()}))
    runs = (f"{run} as (select *, pred_{index} as pred from made)" for index, run in enumerate("ab"))
    return con.execute(f"with {', '.join(runs)} {call}").fetchall()


def group_scores(
    con: duckdb.DuckDBPyConnection, sets: int, groups: int, size: int, icc: float, p: float, nested: bool = False,
    uneven: bool = False,
) -> Iterator[list[bool]]:  # fmt: skip
    """Whether bootstrap_ci's five intervals with groups hold the truth."""
    chance = 1 / 10
    truths = [p, p, p, (p - chance) / (1 - chance), (p - chance) / (1 - chance)]
    for seed in range(sets):
        made = answers_in_groups(groups, size, icc, p, seed, nested=nested, uneven=uneven)
        call = f"select ci_low, ci_high from bootstrap_ci('a', n_resamples := 300, seed := {seed}, groups := patient)"
        ends = ends_of_runs(con, made, call)
        yield [low <= truth <= high for (low, high), truth in zip(ends, truths, strict=True)]


def group_differences(
    con: duckdb.DuckDBPyConnection, sets: int, groups: int, size: int, icc: float, p: float, drop: float,
    nested: bool = False, uneven: bool = False,
) -> Iterator[list[bool]]:  # fmt: skip
    """Whether intervals of a true drop hold it: mcnemar's, verdict's of balanced accuracy, paired_bootstrap's three."""
    for seed in range(sets):
        made = answers_in_groups(groups, size, icc, p, seed, drop, nested, uneven)
        ends = [
            end
            for select in (
                "select ci_low, ci_high from mcnemar('b', 'a', groups := patient)",
                "select balanced_low, balanced_high from verdict('b', 'a', groups := patient)",
                "select ci_low, ci_high from paired_bootstrap('b', 'a', n_resamples := 300, groups := patient)",
            )
            for end in ends_of_runs(con, made, select)
        ]
        yield [low <= -drop <= high for low, high in ends]


def true_drops(
    con: duckdb.DuckDBPyConnection, sets: int, groups: int, size: int, icc: float, p: float, drop: float, by: str
) -> Iterator[bool]:
    """Whether the gate `max_drop` fails a run that is worse by as much as it must not be; `by`: groups of the gate."""
    query = templates.render("max_drop", groups=by)
    for seed in range(sets):
        made = answers_in_groups(groups, size, icc, p, seed, drop)
        con.register("made", pa.table({name: values.tolist() for name, values in made.items()}))
        for index, run in enumerate("ab"):
            con.execute(f"create or replace temp view run_{run} as select *, pred_{index} as pred from made").fetchall()
        given = {"run": "run_b", "baseline": "run_a", "max_drop": drop}
        cursor = con.execute(query, given)
        position = [column[0] for column in cursor.description].index("violated")
        ((*row,),) = cursor.fetchall()
        yield bool(row[position])
