"""How often comparisons of seeds and of several runs, gaps of groups and means of costs hold the truth, simulated.

    python tests/benchmarks/seeds.py [--sets N] [--sql N] [--only NAME ...]

The long form of tests/sql/test_oracle_seeds.py and test_oracle_right.py. Every data set comes from a model whose truth
is known. `by numpy` is the same formula in numpy, which tests prove equal; it has N sets, the macros themselves have
the N of --sql. Prints one row per claim: nominal, simulated, Monte Carlo error.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator

import duckdb
import numpy as np
import shared  # noqa: F401  finds the package tests

import sqlanalysis
from tests.support import crossed as sim

# A claim gives one truth value for each data set: whether the interval held the truth, or whether there was no alarm.
Claim = Callable[[duckdb.DuckDBPyConnection, int], Iterator[bool]]
CLAIMS: dict[str, tuple[Claim, bool]] = {}


def seeds(world: sim.World, by_sql: bool) -> Claim:
    """Whether the interval of compare_seeds holds the true gain."""

    def run(con: duckdb.DuckDBPyConnection, sets: int) -> Iterator[bool]:
        rng, gain = np.random.default_rng(world.n + world.runs), world.gain() if world.shift else 0.0
        for _ in range(sets):
            new, old = world.draw(rng)
            if by_sql:
                sim.show(con, "new", new)
                sim.show(con, "old", old)
                ((low, high),) = con.execute("select ci_low, ci_high from compare_seeds('new', 'old')").fetchall()
            else:
                found = sim.crossed(new, old)
                low, high = found["ci_low"], found["ci_high"]
            yield bool(low <= gain <= high)

    return run


def many(n: int, runs: int, column: str) -> Claim:
    """Whether compare_many finds nothing among runs that are as good as their baseline, or holds all differences."""
    world = sim.World(n, runs, 1)

    def run(con: duckdb.DuckDBPyConnection, sets: int) -> Iterator[bool]:
        rng = np.random.default_rng(n + runs)
        for _ in range(sets):
            for name, right in zip(("new", "old"), world.draw(rng), strict=True):
                sim.show(con, name, right)
            sql = f"select bool_and({column}) from compare_many('new', 'old')"
            yield bool(con.execute(sql).fetchall()[0][0])

    return run


def of(hits: Callable[..., Iterator[bool]], *given: object) -> Claim:
    return lambda con, sets: hits(con, sets, *given)


for n in (200, 1000, 5000):
    for sizes in ((2, 2), (3, 3), (5, 5), (10, 10), (1, 5), (2, 10)):
        for sd in ((0.0, 0.0), (0.5, 0.5), (1.0, 1.0), (0.0, 1.0)):
            for alike in (True, False):
                world = sim.World(n, *sizes, sd, alike)
                kind = "alike" if alike else "unlike"
                name = f"compare_seeds {sizes[0]} against {sizes[1]} n {n} sd {sd[0]:g}, {sd[1]:g} {kind}"
                CLAIMS[name + " by numpy"] = seeds(world, False), False
for sizes in ((2, 2), (3, 3), (5, 5), (10, 10)):
    for sd in (0.0, 0.5, 1.0):
        world = sim.World(1000, *sizes, (sd, sd), shift=0.4)
        CLAIMS[f"compare_seeds {sizes[0]} against {sizes[1]} n 1000 sd {sd:g} true gain by numpy"] = (
            seeds(world, False),
            False,
        )
        CLAIMS[f"compare_seeds {sizes[0]} against {sizes[1]} n 300 sd {sd:g}"] = (
            seeds(sim.World(300, *sizes, (sd, sd)), True),
            True,
        )
for n, runs in ((100, 2), (300, 5), (1000, 10), (300, 30)):
    CLAIMS[f"compare_many {runs} runs n {n}: no alarm"] = many(n, runs, "p_holm > 0.05"), True
    CLAIMS[f"compare_many {runs} runs n {n}: all intervals"] = many(n, runs, "ci_low <= 0 and ci_high >= 0"), True
for groups, each, accuracy, spread in (
    (2, 20, 0.9, 0.0), (2, 200, 0.9, 0.0), (10, 50, 0.9, 0.0), (10, 50, 0.7, 0.1), (50, 20, 0.99, 0.0), (50, 100, 0.8, 0.1),
):  # fmt: skip
    name = f"largest_gap {groups} groups of {each} accuracy {accuracy:g} ± {spread:g}"
    CLAIMS[name] = of(sim.gap_hits, groups, each, accuracy, spread), True
for name in sim.PRICES:
    for n in (50, 200, 1000):
        CLAIMS[f"cost {name} n {n}"] = of(sim.cost_hits, name, n), True
for classes, n, signal in ((5, 100, 1.5), (5, 500, 1.0), (20, 400, 2.0), (100, 1000, 3.0), (100, 5000, 1.0)):
    for metric in ("roc_auc_macro", "map_macro"):
        CLAIMS[f"auc_ci {metric} {classes} classes n {n}"] = of(sim.mean_area_hits, metric, classes, n, signal), True


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--sets", type=int, default=4000)
    parser.add_argument("--sql", type=int, default=300)
    parser.add_argument("--only", nargs="*", default=[])
    given = parser.parse_args()
    con = sqlanalysis.connect()
    print("| claim | nominal | simulated | Monte Carlo error |\n|---|---|---|---|")
    for name, (claim, by_sql) in CLAIMS.items():
        if not given.only or any(each in name for each in given.only):
            hits = list(claim(con, given.sql if by_sql else given.sets))
            print(f"| {name} | 0.95 | {np.mean(hits):.3f} | {math.sqrt(0.95 * 0.05 / len(hits)):.3f} |", flush=True)


if __name__ == "__main__":
    main()
