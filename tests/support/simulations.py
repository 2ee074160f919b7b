"""Data sets from models whose truth is known, for coverage of intervals: what the short and the long form share."""

from __future__ import annotations

import numpy as np


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
