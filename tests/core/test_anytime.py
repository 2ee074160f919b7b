"""Intervals that hold at every number of images: equal to scipy's likelihoods, and exact error rates."""

from __future__ import annotations

import itertools

import duckdb
import numpy as np
import pytest
from scipy import integrate, stats

from sqlanalysis.core.anytime import accuracy_interval, difference_interval
from sqlanalysis.runs.sample import schedule

from ..support import anytime as exact

COUNTS = [(0, 1), (1, 1), (0, 40), (40, 40), (3, 7), (45, 50), (900, 1000), (995, 1000), (6200, 12_000), (13, 14_000)]


def is_held(p: float, k: int, n: int, width: float, level: float) -> bool:
    """Whether neither likelihood ratio refutes p, by scipy's binomial distribution."""
    others = [q for q in (min(p + width / 2, 1), max(p - width / 2, 0)) if q != p]
    with np.errstate(invalid="ignore"):
        ratios = [stats.binom.logpmf(k, n, q) - stats.binom.logpmf(k, n, p) for q in others]
    return not any(ratio >= np.log(2 / (1 - level)) for ratio in ratios)


@pytest.mark.parametrize(("width", "level"), [(0.02, 0.95), (0.1, 0.95), (0.3, 0.9), (0.05, 0.99)])
def test_accuracy_holds_what_no_likelihood_ratio_refutes(width: float, level: float) -> None:
    for k, n in COUNTS:
        low, high = accuracy_interval(k, n, width, level)
        assert 0 <= low <= k / n <= high <= 1
        for p in np.linspace(0.0005, 0.9995, 400):
            if min(abs(p - low), abs(p - high)) > 1e-6:
                assert is_held(p, k, n, width, level) == (low < p < high), (k, n, p)
    assert accuracy_interval(0, 0, width, level) == (0, 1)


def capital(d: float, wins: int, ties: int, losses: int) -> float:
    """Mean capital of uniformly distributed bets on either side of d, by scipy's quadrature."""

    def one_side(e: float, w: int, v: int) -> float:
        def won(u: float) -> float:
            return float((1 + u * (1 - e) / (1 + e)) ** w * (1 - u * e / (1 + e)) ** ties * (1 - u) ** v)

        return float(integrate.quad(won, 0, 1, limit=400, points=[0.01, 0.05, 0.1, 0.3])[0])

    return (one_side(d, wins, losses) + one_side(-d, losses, wins)) / 2


@pytest.mark.parametrize("counts", [(6, 0, 94), (20, 5, 175), (9, 9, 0), (1, 30, 300), (60, 40, 900), (2, 3, 4)])
@pytest.mark.parametrize("level", [0.9, 0.99])
def test_difference_holds_what_no_mixture_of_bets_refutes(counts: tuple[int, int, int], level: float) -> None:
    wins, losses, ties = counts
    low, high = difference_interval(wins, losses, sum(counts), level)
    assert -1 <= low <= (wins - losses) / sum(counts) <= high <= 1
    for end, out in ((low, -1), (high, 1)):
        assert capital(end, wins, ties, losses) == pytest.approx(1 / (1 - level), rel=1e-3)
        assert capital(end + out * 1e-3, wins, ties, losses) > 1 / (1 - level)
    for d in np.linspace(max(low - 0.2, -0.99), min(high + 0.2, 0.99), 99):  # the values that are held are an interval
        if min(abs(d - low), abs(d - high)) > 1e-4:
            assert (capital(d, wins, ties, losses) < 1 / (1 - level)) == (low < d < high), d


def test_difference_of_answers_that_agree_or_differ_everywhere() -> None:
    assert difference_interval(0, 0, 0) == (-1, 1)
    low, high = difference_interval(0, 0, 500)
    assert low == pytest.approx(-high)
    assert 0 < high < 0.02
    assert difference_interval(80, 0, 80)[1] == 1
    assert difference_interval(0, 80, 80)[0] == -1
    assert difference_interval(80, 0, 80)[0] > 0.8


def test_the_interval_excludes_zero_where_mcnemar_anytime_does(con: duckdb.DuckDBPyConnection) -> None:
    """One test of no difference: the macro's. Its p of 0.05 lies between counts, which must not be confused."""
    n_settled = 0
    for run_only, baseline_only in itertools.product(range(0, 60, 4), range(0, 60, 5)):
        con.execute(
            "create or replace temp table a as "
            f"select range as image_id, 1 as label, (range < {run_only})::integer as pred from range(200)"
        )
        con.execute(
            "create or replace temp table b as "
            f"select range as image_id, 1 as label, (range >= {200 - baseline_only})::integer as pred from range(200)"
        )
        (p,) = con.execute("select p_value from mcnemar_anytime('a', 'b')").fetchall()[0]
        low, high = difference_interval(run_only, baseline_only, 200)
        assert (p <= 0.05) == (low > 0 or high < 0)
        n_settled += p <= 0.05
    assert 20 < n_settled < 170


@pytest.mark.parametrize(("p", "width"), [(0.5, 0.05), (0.9, 0.02), (0.99, 0.05), (0.004, 0.05)])
def test_the_bounds_of_the_exact_error_rates_are_the_interval(p: float, width: float) -> None:
    bounds = exact.accuracy_bounds(p, width)
    for n in (1, 2, 17, 90, 400, 2500):
        low, high = bounds(n)
        for k in {max(low, 0), max(low + 1, 0), min(high - 1, n), min(high, n)}:
            ends = accuracy_interval(k, n, width)
            assert (low < k < high) == (ends[0] < p < ends[1]), (n, k)


@pytest.mark.parametrize("p", [0.5, 0.8, 0.95, 0.99])
def test_an_accuracy_is_ever_missed_with_the_nominal_probability(p: float) -> None:
    """Exact, looking after each of 5,000 images; at most 0.05, and not far below, which would waste images."""
    assert 0.03 < exact.ever_wrong(p, 0.05, 5000) <= 0.05


def test_an_accuracy_of_a_finite_set_is_missed_more_rarely() -> None:
    rates = [exact.ever_wrong_of(n_right, 400, 0.1) for n_right in range(0, 401, 16)]
    assert 0.01 < max(rates) <= 0.05


def test_equal_models_are_ever_told_apart_with_the_nominal_probability() -> None:
    """Exact, looking after each of 3,000 images that only one has right."""
    assert 0.02 < exact.ever_better(3000) <= 0.05


def test_looking_at_an_interval_for_one_number_of_images_would_not_do() -> None:
    """The same computation with Wilson's interval, to see that it can fail."""
    z, p = stats.norm.ppf(0.975), 0.9

    def bounds(n: int) -> tuple[int, int]:
        half = z * np.sqrt(n * p * (1 - p))
        return int(np.ceil(n * p - half)) - 1, int(np.floor(n * p + half)) + 1

    assert exact.ever(2000, lambda _n, counts: np.full(len(counts), p), bounds) > 0.4


def test_looks_are_full_batches_and_an_eighth_apart() -> None:
    for n_images, batch_size in ((5000, 8), (50_000, 96), (30, 8), (64, 64), (1, 512)):
        looks = list(schedule(n_images, batch_size))
        assert looks[-1] == n_images
        assert all(look % batch_size == 0 for look in looks[:-1])
        steps = np.diff([0, *looks])
        assert (steps > 0).all()
        assert all(step <= max(64, start / 8) + batch_size for start, step in zip([0, *looks], steps, strict=False))
    assert list(schedule(0, 8)) == []
