"""Scalar functions against scipy, tails and edges included."""

from __future__ import annotations

import math
from typing import Any

import duckdb
import numpy as np
import pytest
from scipy import special, stats

from ..support.oracle import (
    same,
)


def test_normal_distribution(con: duckdb.DuckDBPyConnection) -> None:
    z = np.concatenate([np.linspace(-39, 39, 1201), [0, 0.67448975, math.sqrt(32)]])
    p = np.concatenate([np.logspace(-300, -0.001, 600), np.linspace(0.001, 0.999, 604)])
    actual = con.execute(
        "select _norm_sf(z), _norm_ppf(p) from (select unnest(?) as z, unnest(?) as p)", [z, p]
    ).fetchnumpy()
    sf, ppf = actual.values()
    assert np.abs(sf - stats.norm.sf(z)).max() < 1e-15
    inside = stats.norm.sf(z) > 1e-290
    assert np.abs(sf[inside] / stats.norm.sf(z[inside]) - 1).max() < 1e-12
    assert np.abs(ppf - stats.norm.ppf(p)).max() < 1e-12


def test_normal_distribution_edges(con: duckdb.DuckDBPyConnection) -> None:
    actual = con.execute(
        "select _norm_sf('inf'::double), _norm_sf('-inf'::double), _norm_sf(null), _norm_ppf(0), _norm_ppf(1), "
        "_norm_ppf(0.5), _norm_ppf(1.5), _norm_ppf('nan'::double), _norm_ppf(null)"
    ).fetchall()[0]
    assert actual == (0, 1, None, -math.inf, math.inf, 0, None, None, None)


def test_argmax(con: duckdb.DuckDBPyConnection) -> None:
    actual = con.execute(
        "select argmax([1, 3, 3]::float[]), argmax([2, 1]::float[2]), argmax([1, 'nan'::double]), argmax([]::float[]), "
        "argmax(null::float[]), argmax([null, 1.0, null])"
    ).fetchall()[0]
    assert actual == (1, 0, None, None, None, 1)


def test_binom_logpmf(con: duckdb.DuckDBPyConnection) -> None:
    for k, n, p in [(0, 5, 0.3), (5, 5, 0.3), (3, 10, 0.2), (0, 5, 0.0), (5, 5, 1.0), (1, 5, 0.0), (6, 5, 0.5)]:
        actual = con.execute("select _binom_logpmf(?, ?, ?)", [k, n, p]).fetchall()[0][0]
        same(actual, float(stats.binom.logpmf(k, n, p)), 1e-11)
    actual = con.execute("select _binom_logpmf(333000, 1000000, 0.333)").fetchall()[0][0]
    same(actual, float(stats.binom.logpmf(333000, 1000000, 0.333)), 1e-8)


def test_scalars(con: duckdb.DuckDBPyConnection) -> None:
    def value(sql: str, *values: Any) -> Any:
        return con.execute(f"select {sql}", list(values)).fetchall()[0][0]

    for wins, losses in [(0, 0), (1, 0), (5, 5), (3, 9), (12, 80), (40000, 39000), (500000, 501500), (0, 3000)]:
        expected = stats.binomtest(wins, wins + losses).pvalue if wins + losses else 1.0
        assert value("_sign_test(?, ?)", wins, losses) == pytest.approx(expected, rel=1e-8, abs=1e-13)
    for x in (-1, 0, 1e-9, 0.1, 1, 3.84, 20, 200):
        same(value("_chi2_sf_1df(?)", x), float(stats.chi2.sf(x, 1)))
    for x in (-1, 0, 0.05, 0.3, 0.8, 0.9999, 1, 1.36, 2, 5):
        same(value("_kolmogorov_sf(?)", x), float(special.kolmogorov(x)))
    for df in (0, 1, 2, 3, 10, 99, 1000):
        for x in (-1, 0, 1e-9, 1, df * 0.9, df * 1.2, df * 5):
            same(value("_chi2_sf(?, ?)", x, df), float(stats.chi2.sf(x, df)) if df else 1.0)
    for call in (
        "_sign_test(null, 1)",
        "_chi2_sf(null, 3)",
        "_chi2_sf(3, null)",
        "_smirnov_sf(0, 3, 1)",
    ):
        assert value(call) is None
    assert value("bucket(37, 10)") == "[30, 40)"
    assert value("bucket(-0.25, 0.1)") == "[-0.3, -0.2)"
    assert value("bucket(1234567, 1000)") == "[1234000, 1235000)"
    assert [value(f"bucket({x})") for x in ("null, 1", "'nan'::double, 1", "'inf'::double, 1", "3, 0")] == [None] * 4
    assert value("_uniform_of('a')") == value("md5_number_lower('a') % 9007199254740992") / 2**53
    actual = [row[0] for row in con.execute("select _uniform_of(i) from range(5000) t(i)").fetchall()]
    assert stats.kstest(actual, "uniform").pvalue > 0.01


@pytest.mark.parametrize("mean", [1, 2, 5, 9, 10, 25, 400, 100000])
def test_poisson_draw(con: duckdb.DuckDBPyConnection, mean: int) -> None:
    sql = "select _poisson_draw(m, _poisson_steps(m), md5_number_lower(i::varchar)) from (select ? as m, unnest(range(20000)) as i)"
    actual = np.array([row[0] for row in con.execute(sql, [mean]).fetchall()])
    assert abs(actual.mean() - mean) < 5 * math.sqrt(mean / 20000)
    assert abs(actual.var() / mean - 1) < 0.06
    edges = np.unique(stats.poisson.ppf(np.arange(0.1, 0.95, 0.1), mean))
    observed = np.bincount(np.searchsorted(edges, actual), minlength=len(edges) + 1)
    expected = np.diff([0, *stats.poisson.cdf(edges, mean), 1]) * len(actual)
    assert stats.chisquare(observed, expected).pvalue > 1e-3
