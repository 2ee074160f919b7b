"""Intervals that hold at every number of images at once, so that one may look after every image and stop at will.

Each candidate value of what is estimated gets a bet against it, whose capital is a nonnegative martingale that starts
at 1 if the value is true; so it ever reaches 1 / alpha with a probability of at most alpha (Ville's inequality). The
interval holds the values that no bet has refuted: Waudby-Smith & Ramdas (2023), JRSS B 86:1-27. The images are taken to
be drawn at random from those that one wants to know about, as for every interval of this package. The interval of the
accuracy also holds for the accuracy over a finite set whose images are drawn without replacement (tested exactly).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

LEVEL = 0.95
_STEPS = 40  # of a bisection
# Bets on a difference, as shares of the largest bet that cannot lose more than everything: a uniform prior.
_BETS = (np.arange(1000) + 0.5) / 1000


def accuracy_interval(correct: int, n: int, width: float, level: float = LEVEL) -> tuple[float, float]:
    """The interval of an accuracy, as narrow as possible at the number of images where it is `width` wide.

    A value p is refuted by the likelihood ratio of p + width / 2, or of p - width / 2, to p: Wald (1945), Ann. Math.
    Stat. 16:117-186; Robbins (1970), Ann. Math. Stat. 41:1397-1409. Before that number of images it is wider than one
    without a goal (macro `accuracy_anytime`), and it never becomes narrower than about half the width.

    Args:
        correct: right answers.
        n: images, 0 or more.
        width: of the interval that one wants, a share such as 0.02 for 2 points; above 0 and below 1.
        level: probability that the intervals of all n together hold the accuracy, at least.

    Returns:
        Both ends, shares; 0 and 1 for n = 0.
    """
    return _accuracy_low(correct, n, width, level), 1 - _accuracy_low(n - correct, n, width, level)


def _accuracy_low(correct: int, n: int, width: float, level: float) -> float:
    bound = math.log(2 / (1 - level))  # a bet on either side

    def is_refuted(p: float) -> bool:
        other = min(p + width / 2, 1.0)
        wrong = n - correct
        if wrong and other == 1:
            return False  # a wrong answer refutes the alternative instead
        lost = wrong * (math.log1p(-other) - math.log1p(-p)) if wrong else 0.0
        return correct * math.log(other / p) + lost >= bound

    # The likelihood ratio falls with p, and is 1 at most at the observed share.
    return _edge(is_refuted, 0.0, correct / n) if correct else 0.0


def difference_interval(wins: int, losses: int, n: int, level: float = LEVEL) -> tuple[float, float]:
    """The interval of the difference of two accuracies on the same images, from what only one of the two has right.

    A mixture of bets with a uniform prior. The test of no difference is that of macro `mcnemar_anytime`: the interval
    excludes 0 where its p is at most 1 - level.

    Args:
        wins: images that only the run has right.
        losses: images that only the baseline has right.
        n: images of both, at least wins + losses.
        level: as in `accuracy_interval`.

    Returns:
        Both ends of run - baseline, shares; -1 and 1 for n = 0.
    """
    if not n:
        return -1.0, 1.0
    ties, bound, observed = n - wins - losses, math.log(2 / (1 - level)), (wins - losses) / n

    def is_refuted(d: float) -> bool:
        return bool(np.logaddexp(_capital(d, wins, ties, losses), _capital(-d, losses, ties, wins)) >= bound)

    low = _edge(is_refuted, -1.0, observed)
    high = -_edge(lambda negated: is_refuted(-negated), -1.0, -observed)
    return low, high


def _capital(d: float, wins: int, ties: int, losses: int) -> float:
    """Log of the mean capital of bets that the difference is above d, where -1 < d < 1."""
    steps = wins * np.log1p(_BETS * (1 - d) / (1 + d)) + ties * np.log1p(-_BETS * d / (1 + d))
    steps += losses * np.log1p(-_BETS)
    return float(np.logaddexp.reduce(steps) - math.log(len(_BETS)))


def _edge(is_refuted: Callable[[float], bool], low: float, high: float) -> float:
    """Where refuted values end, between `low`, never asked for, and `high`, which is not refuted."""
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        if is_refuted(middle):
            low = middle
        else:
            high = middle
    return low
