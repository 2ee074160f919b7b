"""worst_slices finds what was planted and nothing else, against scipy and pandas; its parts; columns of all kinds."""

from __future__ import annotations

import itertools
import math

import duckdb
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from sqlanalysis import metric
from sqlanalysis.errors import SchemaError


def load(con: duckdb.DuckDBPyConnection, frame: pd.DataFrame, wrong: np.ndarray, name: str = "made") -> list[str]:
    """A relation with these columns and these mistakes; gives the columns."""
    base = {"image_id": np.arange(len(wrong)) + 10, "label": 1, "pred": np.where(wrong, 2, 1)}
    confidence = {} if "confidence" in frame else {"confidence": np.linspace(0, 1, len(wrong))}
    con.register("_given", pd.DataFrame({**base, **confidence}).join(frame))
    con.execute(f"create or replace table {name} as from _given").fetchall()
    con.unregister("_given")
    return list(frame.columns)


def worst(con: duckdb.DuckDBPyConnection, cols: list[str], **values: object) -> pd.DataFrame:
    return metric(con, "worst_slices", "made", cols=cols, **values).df()


def innocent(rng: np.random.Generator, n: int) -> pd.DataFrame:
    """Twenty columns that say nothing."""
    numbers = {f"number_{i}": rng.normal(size=n) for i in range(10)}
    kinds = {f"kind_{i}": rng.integers(0, 2 + i % 4, n).astype(str) for i in range(10)}
    return pd.DataFrame({**numbers, **kinds})


@pytest.mark.parametrize(
    ("k1", "n1", "k2", "n2"), [(5, 5, 0, 5), (3, 20, 10, 200), (40, 60, 10, 90), (0, 9, 4, 9), (7, 9, 7, 9)]
)
def test_fisher_greater(con: duckdb.DuckDBPyConnection, k1: int, n1: int, k2: int, n2: int) -> None:
    found = con.execute("select fisher_greater(?, ?, ?, ?)", [k1, n1, k2, n2]).fetchall()[0][0]
    expected = stats.fisher_exact([[k1, n1 - k1], [k2, n2 - k2]], alternative="greater").pvalue
    assert found == pytest.approx(expected, rel=1e-10)


def test_fisher_greater_of_large_numbers_and_edges(con: duckdb.DuckDBPyConnection) -> None:
    rng = np.random.default_rng(0)
    for _ in range(100):
        n1, n2 = (int(one) for one in 10 ** rng.uniform(0, 6, 2))
        k1, k2 = int(rng.binomial(n1, rng.uniform(0, 0.5))), int(rng.binomial(n2, rng.uniform(0, 0.5)))
        found = con.execute("select fisher_greater(?, ?, ?, ?)", [k1, n1, k2, n2]).fetchall()[0][0]
        assert found == pytest.approx(stats.hypergeom.sf(k1 - 1, n1 + n2, k1 + k2, n1), rel=1e-6, abs=1e-280)
    rows = con.sql(
        "select fisher_greater(0, 0, 0, 0), fisher_greater(0, 3, 0, 4), fisher_greater(3, 3, 0, 0), "
        "fisher_greater(null, 1, 1, 1)"
    ).fetchall()
    assert rows == [(1, 1, pytest.approx(1), None)]


@pytest.mark.parametrize(
    ("low", "high", "name"),
    [(0.1234, 0.3098, "0.12–0.31"), (0, 0.25, "0.00–0.25"), (200, 500, "200–500"), (3, 3, "3"), (0.1, 0.1, "0.1"),
     (-12.5, 7.25, "-12–7"), (0.5001, 0.5002, "0.50010–0.50020"), (1234.5, 98765.4, "1234–98765"), (None, None, None)],
)  # fmt: skip
def test_number_range(con: duckdb.DuckDBPyConnection, low: float, high: float, name: str) -> None:
    assert con.execute("select number_range(?::double, ?::double)", [low, high]).fetchall() == [(name,)]


def expected(frame: pd.DataFrame, wrong: np.ndarray, min_n: int, bins: int) -> pd.DataFrame:
    """Every slice and pair by pandas and scipy: counts, p-value, and p-value after weighted Benjamini and Hochberg."""
    groups: dict[str, list[np.ndarray]] = {}
    for name, values in frame.items():
        if values.dtype.kind == "f":
            cuts = np.quantile(values, np.arange(1, bins) / bins)
            values = pd.Series(np.searchsorted(cuts, values, side="right"))
        groups[str(name)] = [(values == key).to_numpy() for key in values.unique()]
    found = []
    for names in [*((one,) for one in groups), *itertools.combinations(groups, 2)]:
        for parts in itertools.product(*(groups[one] for one in names)):
            inside = np.logical_and.reduce(parts)
            n, k = int(inside.sum()), int(wrong[inside].sum())
            if n >= min_n:
                wholes = [np.ones(len(wrong), bool), *(parts if len(parts) == 2 else [])]
                tails = [stats.hypergeom.sf(k - 1, one.sum(), wrong[one].sum(), n) for one in wholes]
                found.append((" × ".join(names), n, k, max(tails) if k / n > wrong.mean() else 1.0))
    table = pd.DataFrame(found, columns=["feature", "n", "errors", "p_value"])
    pairs = table["feature"].str.contains(" × ")
    weight = len(table) / 2 / np.where(pairs, pairs.sum(), (~pairs).sum())
    return table.assign(p_bh=stats.false_discovery_control(np.minimum(table["p_value"] / weight, 1)))


def test_every_test_of_scipy(con: duckdb.DuckDBPyConnection) -> None:
    rng = np.random.default_rng(4)
    n = 1500
    frame = pd.DataFrame(
        {"light": rng.random(n), "size": rng.normal(size=n), "camera": rng.integers(0, 3, n).astype(str)}
    )
    rate = np.where((frame["light"] < 0.3) & (frame["camera"] == "1"), 0.6, 0.15 + 0.1 * (frame["size"] > 0.8))
    wrong = rng.random(n) < rate
    cols = load(con, frame, wrong)
    found = worst(con, cols, min_n=30, bins=5, limit_n=1000, alpha=2.0)
    reference = expected(frame, wrong, 30, 5)
    pair = [table.sort_values(["feature", "n", "errors", "p_value"], ignore_index=True) for table in (found, reference)]
    for column in ("feature", "n", "errors"):
        assert list(pair[0][column]) == list(pair[1][column])
    for column in ("p_value", "p_bh"):
        assert np.allclose(pair[0][column], pair[1][column], rtol=1e-8, atol=0)
    for row in found.to_dict("records"):
        interval = stats.binomtest(row["errors"], row["n"]).proportion_ci(method="wilson")
        assert (row["ci_low"], row["ci_high"]) == pytest.approx((interval.low, interval.high), abs=1e-12)
        assert row["lift"] == pytest.approx(row["errors"] / row["n"] / wrong.mean())
    assert found["ci_low"].is_monotonic_decreasing
    significant = worst(con, cols, min_n=30, bins=5)
    assert len(significant) == (reference["p_bh"] < 0.05).sum() > 0
    assert significant["feature"][0] == "light × camera"
    assert significant["value"][0].endswith(" × 1")
    assert len(worst(con, cols, min_n=30, bins=5, limit_n=1)) == 1


def test_weights_of_the_correction(con: duckdb.DuckDBPyConnection) -> None:
    rng = np.random.default_rng(2)
    m = 30
    p, weight = rng.beta(0.3, 3, m), rng.permutation(np.repeat([0.5, 2.0], [20, 10]))
    con.register(
        "_given",
        pd.DataFrame({"feature": "a", "value": range(m), "p_value": p, "weight": weight}).assign(n=9, errors=3),
    )
    con.execute("create table tested as select *, 0.1 as base_rate, 1.0 as z from _given").fetchall()
    found = con.sql("from slice_figures('tested')").df().set_index("value").sort_index()
    order = np.argsort(p / weight)
    left = np.cumsum(weight[order][::-1])[::-1]
    holm = np.minimum(1, np.maximum.accumulate((p / weight)[order] * left))
    assert np.allclose(found["p_holm"][order], holm)
    assert np.allclose(found["p_bh"], stats.false_discovery_control(np.minimum(1, p / weight)))


def test_a_planted_failure_comes_first_and_alone(con: duckdb.DuckDBPyConnection) -> None:
    rng = np.random.default_rng(0)
    n = 3000
    frame = innocent(rng, n).assign(brightness=rng.beta(2, 2, n))
    wrong = rng.random(n) < np.where(frame["brightness"] < 0.25, 0.35, 0.1)
    found = worst(con, load(con, frame, np.asarray(wrong)))
    assert list(found["feature"]) == ["brightness"]
    (row,) = found.to_dict("records")
    assert row["value"].startswith("0.0")
    assert row["value"].endswith("–0.33")
    dark = frame["brightness"] < np.quantile(frame["brightness"], 0.25)
    assert (row["n"], row["errors"]) == (dark.sum(), wrong[dark].sum())
    assert list(row["exemplars"]) == list((np.flatnonzero(dark & wrong) + 10)[::-1][:5])


def test_nothing_is_reported_of_nothing(con: duckdb.DuckDBPyConnection) -> None:
    con.execute("set threads = 1").fetchall()
    reported = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        cols = load(con, innocent(rng, 400), rng.random(400) < 0.1)
        reported += len(worst(con, cols)) > 0
    assert reported <= 1


def test_exemplars_are_the_most_confident_mistakes(con: duckdb.DuckDBPyConnection) -> None:
    n = 200
    confidence: list[float | None] = [math.nan, None, 0.5, 0.9, 0.9, 0.1, 0.2] + [0.99] * (n - 7)
    frame = pd.DataFrame({"camera": ["bad"] * 20 + ["good"] * (n - 20), "confidence": confidence})
    load(con, frame, np.arange(n) < 7)
    con.execute("update made set confidence = null where image_id = 11").fetchall()
    found = worst(con, ["camera"])
    assert list(found["value"]) == ["bad"]
    assert list(found["exemplars"][0]) == [13, 14, 12, 16, 15]
    con.execute("delete from made where image_id in (13, 14)").fetchall()
    assert list(worst(con, ["camera"], min_n=10)["exemplars"][0]) == [12, 16, 15, 10, 11]


def test_kinds_of_columns(con: duckdb.DuckDBPyConnection) -> None:
    n = 400
    place = np.arange(n)
    frame = pd.DataFrame(
        {
            "few": place % 3,
            "wide": place * 7,
            "flat": np.ones(n),
            "half": np.where(place < 200, 0.0, place / 100),
            "holes": np.where(place < 40, np.nan, place % 10 / 10),
            "endless": np.where(place < 40, np.inf, place % 10 / 10),
            "day": pd.to_datetime("2026-01-01") + pd.to_timedelta(place % 2, "D"),
            "yes": place % 2 == 0,
            'odd "name" × ': np.where(place < 40, None, "x"),
        }
    )
    cols = load(con, frame, place % 7 == 0)
    con.execute("alter table made add column fixed decimal(9, 2); update made set fixed = image_id / 7").fetchall()
    con.execute("alter table made add column parts integer[]; update made set parts = [1, 2]").fetchall()
    con.execute(
        "update made set holes = case when image_id < 30 then null else 'nan' end where image_id < 50"
    ).fetchall()
    names = [*cols, "fixed", "parts"]
    found = metric(con, "worst_slices", "made", cols=names, min_n=1, alpha=2.0, limit_n=10_000).fetchall()
    values = {name: {row[1] for row in found if row[0] == name} for name in names}
    assert values["few"] == {"0", "1", "2"}
    assert values["wide"] == {"0–693", "700–1393", "1400–2093", "2100–2793"}
    assert values["flat"] == set()  # a slice of everything has no test, so no p-value
    assert values["half"] == {"0", "2.00–2.99", "3.00–3.99"}
    assert len(values["holes"]) == 4 + 2
    assert values["holes"] >= {None, "nan"}
    assert {"inf"} < values["endless"]
    assert values["yes"] == {"true", "false"}
    assert len(values["day"]) == 2
    assert values['odd "name" × '] == {None, "x"}
    assert len(values["fixed"]) == 4
    assert values["parts"] == set()
    assert "few × yes" in {row[0] for row in found}
    load(con, frame, place < 40)
    certain = metric(con, "worst_slices", "made", cols=['odd "name" × ', "few"]).fetchall()
    assert certain[0][:5] == ('odd "name" × ', None, 40, 40, 1.0)


def test_a_pair_is_told_only_when_it_says_more(con: duckdb.DuckDBPyConnection) -> None:
    rng = np.random.default_rng(1)
    n = 4000
    frame = pd.DataFrame({"a": rng.integers(0, 3, n).astype(str), "b": rng.integers(0, 3, n).astype(str)})
    both = (frame["a"] == "1") & (frame["b"] == "2")
    cols = load(con, frame, rng.random(n) < np.where(both, 0.5, 0.1))
    found = worst(con, cols)
    assert (found["feature"][0], found["value"][0]) == ("a × b", "1 × 2")
    assert set(found["feature"][1:]) <= {"a", "b"}
    cols = load(con, frame, rng.random(n) < np.where(frame["a"] == "1", 0.5, 0.1))
    assert list(worst(con, cols)["value"]) == ["1"]


def test_edges(con: duckdb.DuckDBPyConnection) -> None:
    frame = pd.DataFrame({"a": np.arange(100) % 4, "x": np.arange(100) / 100})
    for wrong in (np.zeros(100, bool), np.ones(100, bool)):
        assert len(worst(con, load(con, frame, wrong))) == 0
    load(con, frame, frame["a"].to_numpy() == 0)
    assert list(worst(con, ["a"])["value"]) == ["0"]
    assert list(worst(con, ["A", "a"])["value"]) == ["0"]
    con.execute("update made set pred = -1 where pred = 2").fetchall()
    assert list(worst(con, ["a"])["errors"]) == [25]
    con.execute("update made set label = null where a = 0 and image_id < 60; ").fetchall()
    assert list(worst(con, ["a"], min_n=5)["errors"]) == [12]
    stacked = con.sql("from worst_slices(['made', 'made'], ['a'], min_n := 5)").fetchall()
    assert stacked[0][3] == 24
    con.execute("delete from made").fetchall()
    assert len(worst(con, ["a", "x"])) == 0


@pytest.mark.parametrize("name", ["slices", "slice_pairs", "worst_slices"])
def test_an_unknown_column_is_named(con: duckdb.DuckDBPyConnection, name: str) -> None:
    load(con, pd.DataFrame({"camera": ["a"] * 30, "split": ["b"] * 30}), np.arange(30) < 3)
    with pytest.raises(SchemaError, match="'made' has no column 'camra'; did you mean camera"):
        metric(con, name, "made", cols=["split", "camra"])
    with pytest.raises(duckdb.BinderException, match='Column "camra" was selected but was not found'):
        con.sql(f"from {name}('made', ['split', 'camra'])").fetchall()
