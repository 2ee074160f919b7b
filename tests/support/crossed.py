"""Several seeds of a model on the same images, from a model whose truth is known, and what they say by definition."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import duckdb
import numpy as np
import pyarrow as pa
from scipy import stats


def softly(z: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-z))


@dataclass(frozen=True)
class World:
    """Images of very different difficulty; each seed of a model is a little better or worse on all of them.

    `sd` are the standard deviations over the seeds, in points of accuracy, of the run and of its baseline. `alike`: both
    find the same images difficult, as two models of one architecture do; else their difficulties correlate by 0.6.
    """

    n: int
    runs: int
    baselines: int
    sd: tuple[float, float] = (0.0, 0.0)
    alike: bool = True
    shift: float = 0.0  # of the run, in units of the difficulty

    def gain(self) -> float:
        """The true difference of accuracy, over all images and seeds."""
        rng = np.random.default_rng(0)
        z = 2 + 2.5 * rng.normal(size=400_000)
        return float(
            np.mean(softly(z + self.shift + self._seeds(rng, len(z), 0)) - softly(z + self._seeds(rng, len(z), 1)))
        )

    def draw(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Which images each seed has right: images x runs and images x baselines."""
        first = rng.normal(size=self.n)
        second = first if self.alike else 0.6 * first + 0.8 * rng.normal(size=self.n)
        sides = []
        for side, (z, m) in enumerate(((first, self.runs), (second, self.baselines))):
            p = softly(2 + 2.5 * z[:, None] + self._seeds(rng, m, side) + (0 if side else self.shift))
            sides.append(rng.random((self.n, m)) < p)
        return sides[0], sides[1]

    def _seeds(self, rng: np.random.Generator, m: int, side: int) -> np.ndarray:
        # One unit of difficulty moves the accuracy by the mean of p * (1 - p).
        slope = 0.0896
        return rng.normal(size=m) * self.sd[side] / 100 / slope


def residual(right: np.ndarray) -> float:
    """The mean square of what is neither a matter of the image nor of the seed."""
    rest = right - right.mean(axis=0) - right.mean(axis=1, keepdims=True) + right.mean()
    return float((rest**2).sum() / (len(right) - 1) / (right.shape[1] - 1))


def crossed(run: np.ndarray, baseline: np.ndarray, level: float = 0.95) -> dict[str, float]:
    """What compare_seeds gives, by the definitions of its variance components."""
    n, sizes = len(run), np.array([run.shape[1], baseline.shape[1]])
    sides = [run.astype(float), baseline.astype(float)]
    spread = [side.mean(axis=0).var(ddof=1) if side.shape[1] > 1 else math.nan for side in sides]
    chance = [residual(side) / n if side.shape[1] > 1 else math.nan for side in sides]
    spread = [own if not math.isnan(own) else other for own, other in zip(spread, spread[::-1], strict=True)]
    chance = [own if not math.isnan(own) else other for own, other in zip(chance, chance[::-1], strict=True)]
    parts = np.array(spread) / sizes
    gaps = sides[0].mean(axis=1) - sides[1].mean(axis=1)
    images = ((gaps**2).sum() + (1 / sizes).sum() / 2 - gaps.sum() ** 2 / (n + 2)) / (n + 1) / (n + 2)
    if sizes.min() == 1:
        df_seeds = float(sizes.max() - 1)
    else:
        df_seeds = float((1 / sizes).sum() ** 2 / (1 / sizes**2 / (sizes - 1)).sum())
        if parts.sum() > 0:
            df_seeds = min(df_seeds, float(parts.sum() ** 2 / (parts**2 / (sizes - 1)).sum()))
    variance = max(0.0, float((parts - np.array(chance) / sizes).sum())) + images
    df = max(df_seeds, variance**2 / (parts.sum() ** 2 / df_seeds + images**2 / (n + 1)))
    center, half = gaps.sum() / (n + 2), float(stats.t.ppf((1 + level) / 2, df)) * math.sqrt(variance)
    return {
        "diff": float(gaps.mean()),
        "ci_low": max(-1.0, center - half),
        "ci_high": min(1.0, center + half),
        "p_value": 2 * float(stats.t.sf(abs(center) / math.sqrt(variance), df)),
        "std_error": math.sqrt(variance),
        "df": df,
    }


def show(con: duckdb.DuckDBPyConnection, name: str, right: np.ndarray) -> None:
    """A relation of that name with a column run, NAME_0, NAME_1, …: one run per column of `right`."""
    n, m = right.shape
    con.register(
        name,
        pa.table(
            {
                "run": np.repeat([f"{name}_{i}" for i in range(m)], n),
                "image_id": np.tile(np.arange(n), m),
                "label": np.zeros(n * m, int),
                "pred": 1 - right.T.ravel().astype(int),
            }
        ),
    )


def gap_hits(
    con: duckdb.DuckDBPyConnection, sets: int, groups: int, each: int, accuracy: float, spread: float
) -> Iterator[bool]:
    """Whether the interval of largest_gap holds the true gap between the best and the worst group."""
    rng = np.random.default_rng(groups + each)
    for _ in range(sets):
        truth = np.clip(accuracy + spread * rng.normal(size=groups), 0, 1)
        group = np.arange(groups * each) % groups
        pred = (rng.random(len(group)) >= truth[group]).astype(int)
        con.register("made", pa.table({"group": group, "label": np.zeros(len(group), int), "pred": pred}))
        ((low, high),) = con.execute("select ci_low, ci_high from largest_gap('made', \"group\")").fetchall()
        yield bool(low <= np.ptp(truth) <= high)


# What answers cost and how often: the first is a right answer.
PRICES = {
    "one in ten": ([0, 1], [0.9, 0.1]),
    "rare and dear": ([0, 1, 100], [0.895, 0.1, 0.005]),
    "many sizes": ([0, 1, 2, 3, 4, 5], [0.5, 0.1, 0.1, 0.1, 0.1, 0.1]),
    "a gain": ([-1, 0, 2], [0.6, 0.3, 0.1]),
}


def cost_hits(con: duckdb.DuckDBPyConnection, sets: int, name: str, n: int) -> Iterator[bool]:
    """Whether the interval of cost holds the true mean."""
    prices, shares = np.array(PRICES[name][0], float), np.array(PRICES[name][1])
    rng = np.random.default_rng(n)
    con.register(
        "prices", pa.table({"label": np.zeros(len(prices), int), "pred": np.arange(len(prices)), "cost": prices})
    )
    for _ in range(sets):
        con.register("made", pa.table({"label": np.zeros(n, int), "pred": rng.choice(len(prices), n, p=shares)}))
        ((low, high),) = con.execute("select ci_low, ci_high from cost('made', 'prices')").fetchall()
        yield bool(low - 1e-12 <= prices @ shares <= high + 1e-12)


def scored(rng: np.random.Generator, classes: int, n: int, signal: float) -> tuple[np.ndarray, np.ndarray]:
    """Labels and probabilities of a classifier that knows something."""
    y = rng.integers(0, classes, n)
    z = rng.normal(size=(n, classes))
    z[np.arange(n), y] += signal
    z = np.exp(z)
    return y, z / z.sum(axis=1, keepdims=True)


def mean_area_hits(
    con: duckdb.DuckDBPyConnection, sets: int, metric: str, classes: int, n: int, signal: float
) -> Iterator[bool]:
    """Whether the interval of a mean of areas holds that of the model, which is alike for all classes."""
    from sklearn import metrics as sk

    y, p = scored(np.random.default_rng(0), classes, 200_000, signal)
    of_class = sk.roc_auc_score if metric.startswith("roc") else sk.average_precision_score
    truth = float(np.mean([of_class(y == k, p[:, k]) for k in range(min(classes, 10))]))
    rng = np.random.default_rng(n + classes)
    for _ in range(sets):
        y, p = scored(rng, classes, n, signal)
        con.register("made", pa.table({"label": y, "pred": y, "probs": p.tolist()}))
        sql = f"select ci_low, ci_high from auc_ci('made') where metric = '{metric}'"
        ((low, high),) = con.execute(sql).fetchall()
        yield bool(low <= truth <= high)
