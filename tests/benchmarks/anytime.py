"""Stop rules of `predict`: error rates and images saved; long form of tests/core/test_anytime.py.

    python tests/benchmarks/anytime.py [--sets N] [--images N]

Exact rates are computed from image to image, looking after each; simulated ones look as `predict` does (batches of 64)
and have a Monte Carlo error. Saved is the share of images that were not drawn, for the median and the 90 % quantile.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterable

import numpy as np
import shared  # noqa: F401  finds the package tests

import sqlanalysis
from tests.support import anytime as exact

Stop = tuple[int, float, float, bool]


def row(name: str, n_images: int, truth: float, stops: Iterable[Stop]) -> str:
    kept = list(stops)
    drawn = np.quantile([stop[0] for stop in kept], [0.5, 0.9])
    missed = float(np.mean([not low <= truth <= high for _, low, high, _ in kept]))
    settled = float(np.mean([stop[3] for stop in kept]))
    worse = float(np.mean([high < 0 for _, _, high, _ in kept]))
    saved = ", ".join(f"{1 - n / n_images:.0%}" for n in drawn)
    error = math.sqrt(0.05 * 0.95 / len(kept))
    return f"| {name} | {settled:.3f} | {worse:.3f} | {missed:.3f} | {error:.3f} | {drawn[0]:,.0f} | {saved} |"


def fixed(sets: int, n_images: int, gain: float, differing: float) -> float:
    """How often the interval of `verdict`, which is for a fixed number of images, misses the gain after a stop."""
    con = sqlanalysis.connect()
    sql = "select _paired_low($1, $2, $3, 0.95), 0 - _paired_low($2, $1, $3, 0.95)"
    missed = 0
    for signs in exact.differences(sets, n_images, gain, differing):
        n = exact.stop_by_difference(signs)[0]
        drawn = signs[:n]
        (ends,) = con.execute(sql, [int((drawn > 0).sum()), int((drawn < 0).sum()), n]).fetchall()
        missed += not ends[0] <= gain <= ends[1]
    return missed / sets


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--sets", type=int, default=1000)
    parser.add_argument("--images", type=int, default=50_000)
    given = parser.parse_args()
    n = given.images
    print("| ever wrong, looking after each image | nominal | exact |\n|---|---|---|")
    for p in (0.5, 0.7, 0.9, 0.95, 0.99, 0.999):
        for width in (0.02, 0.05):
            print(
                f"| accuracy {p}, width {width}, {n:,} images | 0.05 | {exact.ever_wrong(p, width, n):.4f} |",
                flush=True,
            )
    for size, width in ((300, 0.1), (2000, 0.05), (2000, 0.02)):
        rate, right = max((exact.ever_wrong_of(k, size, width), k) for k in range(0, size + 1, size // 100))
        print(
            f"| of exactly {size:,} images, width {width}, worst of 100 accuracies ({right / size:.2f}) | 0.05 | {rate:.4f} |"
        )
    for differing in (100, 1000, 5000):
        print(f"| equal models, {differing:,} images that one has right | 0.05 | {exact.ever_better(differing):.4f} |")
    print(
        f"\n| rule, {n:,} images, {given.sets} sets | settled | as worse | interval misses | MC error | drawn | saved |"
    )
    print("|---|---|---|---|---|---|---|")
    for p, width in ((0.7, 0.02), (0.9, 0.02), (0.99, 0.02), (0.9, 0.01), (0.9, 0.05)):
        stops = (exact.stop_by_width(right, width) for right in exact.accuracies(given.sets, n, p))
        print(row(f"accuracy {p}, width {width}", n, p, stops), flush=True)
    for gain, differing in (
        (0, 0.1),
        (0, 0.3),
        (0.005, 0.1),
        (0.01, 0.1),
        (0.02, 0.1),
        (0.02, 0.2),
        (0.05, 0.1),
        (0.05, 0.2),
    ):
        stops = (exact.stop_by_difference(signs) for signs in exact.differences(given.sets, n, gain, differing))
        print(row(f"gain {gain}, {differing:.0%} differ", n, gain, stops), flush=True)
    print("\n| interval of `verdict` after a stop | nominal | misses |\n|---|---|---|")
    for gain, differing in ((0.0, 0.1), (0.02, 0.1), (0.05, 0.1)):
        print(
            f"| gain {gain}, {differing:.0%} differ | 0.05 | {fixed(given.sets, n, gain, differing):.3f} |", flush=True
        )


if __name__ == "__main__":
    main()
