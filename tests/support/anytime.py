"""Exact error rates of intervals that hold at every number of images, and simulated stops: short and long form share it.

The error rates are no simulations: the probability of every count that no look has refuted yet is carried from image
to image, with the bounds written down here in closed form, not asked of the package.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np

from sqlanalysis.core.anytime import accuracy_interval, difference_interval
from sqlanalysis.runs.sample import schedule

Share = Callable[[int, np.ndarray], np.ndarray]  # of right answers in the next image, given n and the counts so far


def ever(n_images: int, share: Share, bounds: Callable[[int], tuple[int, int]]) -> float:
    """The probability that the count of right answers ever leaves low < count < high, looking after every image."""
    counts, mass, lost = np.array([0]), np.array([1.0]), 0.0
    for n in range(n_images):
        right = mass * share(n, counts)
        counts = np.arange(counts[0], counts[-1] + 2)
        mass = np.append(mass - right, 0.0) + np.append(0.0, right)
        low, high = bounds(n + 1)
        inside = (counts > low) & (counts < high)
        lost += mass[~inside].sum()
        counts, mass = counts[inside], mass[inside]
        if not len(counts):
            break
    return float(lost)


def line(p: float, width: float, alpha: float) -> Callable[[int], float]:
    """The count from which on p is refuted as too low: the likelihood ratio of p + width / 2 is 2 / alpha there."""
    other = min(p + width / 2, 1.0)
    if p == 0:
        return lambda _n: 1.0
    if other == 1:
        return lambda n: n if n * math.log(1 / p) >= math.log(2 / alpha) else math.inf
    rises, falls = math.log(other / p), math.log((1 - other) / (1 - p))
    return lambda n: (math.log(2 / alpha) - n * falls) / (rises - falls)


def accuracy_bounds(p: float, width: float, alpha: float = 0.05) -> Callable[[int], tuple[int, int]]:
    """After n images: the largest count that refutes p as too high, the smallest that refutes it as too low."""
    above, below = line(p, width, alpha), line(1 - p, width, alpha)

    def bounds(n: int) -> tuple[int, int]:
        high, low = above(n), below(n)
        return (n - math.ceil(low) if low <= n else -1), (math.ceil(high) if high <= n else n + 1)

    return bounds


def ever_wrong(p: float, width: float, n_images: int) -> float:
    """The probability that the interval of a true accuracy p ever misses it, for images from an endless supply."""
    return ever(n_images, lambda _n, counts: np.full(len(counts), p), accuracy_bounds(p, width))


def ever_wrong_of(n_right: int, n_images: int, width: float) -> float:
    """The same for the accuracy over a finite set, of which n_right are right, drawn without replacement."""

    def share(n: int, counts: np.ndarray) -> np.ndarray:
        return (n_right - counts) / (n_images - n)

    return ever(n_images, share, accuracy_bounds(n_right / n_images, width))


def p_anytime(run_only: int, baseline_only: int) -> float:
    """Robbins's mixture of sign tests with a uniform prior."""
    n = run_only + baseline_only
    return math.exp(math.lgamma(n + 2) - math.lgamma(run_only + 1) - math.lgamma(baseline_only + 1) - n * math.log(2))


def ever_better(n_differing: int, alpha: float = 0.05) -> float:
    """The probability that two equal models are ever told apart, in so many images that only one has right."""

    high = 0

    def bounds(n: int) -> tuple[int, int]:
        nonlocal high  # rises with n, so that it is searched from the last one
        high = max(high, n // 2)
        while high <= n and p_anytime(high, n - high) > alpha:
            high += 1
        return n - high, high

    return ever(n_differing, lambda _n, counts: np.full(len(counts), 0.5), bounds)


def stop_by_width(right: np.ndarray, width: float, batch_size: int = 64) -> tuple[int, float, float, bool]:
    """Images drawn, interval, and whether it is narrow enough."""
    counts = np.append(0, np.cumsum(right))
    for n in schedule(len(right), batch_size):
        low, high = accuracy_interval(int(counts[n]), n, width)
        if high - low <= width:
            return n, low, high, True
    return n, low, high, False


def stop_by_difference(signs: np.ndarray, batch_size: int = 64) -> tuple[int, float, float, bool]:
    """Images drawn, interval of the difference, and whether it excludes 0."""
    wins, losses = np.append(0, np.cumsum(signs > 0)), np.append(0, np.cumsum(signs < 0))
    for n in schedule(len(signs), batch_size):
        if n == len(signs) or p_anytime(int(wins[n]), int(losses[n])) <= 0.05:
            low, high = difference_interval(int(wins[n]), int(losses[n]), n)
            return n, low, high, low > 0 or high < 0
    raise AssertionError("no images")


def accuracies(sets: int, n: int, p: float) -> Iterator[np.ndarray]:
    """Right and wrong answers of a model, in random order."""
    for seed in range(sets):
        yield np.random.default_rng(seed).random(n) < p


def differences(sets: int, n: int, gain: float, differing: float) -> Iterator[np.ndarray]:
    """1 where only the run is right, -1 where only the baseline is, 0 elsewhere."""
    shares = [(differing - gain) / 2, 1 - differing, (differing + gain) / 2]
    for seed in range(sets):
        yield np.random.default_rng(seed).choice([-1, 0, 1], n, p=shares)
