"""Slices: what was planted is found and nothing else, against scipy and pandas; columns of all kinds."""

from __future__ import annotations

import itertools
import math

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from scipy import stats

from sqlanalysis import metric
from sqlanalysis.errors import QueryError, SchemaError

from ..support.oracle import Mutant, is_noticed, rows, same


def sliced(con: duckdb.DuckDBPyConnection, n: int = 900) -> tuple[list[list[str | None]], np.ndarray]:
    """A table with three columns to slice by, as texts, and which answers are wrong."""
    rng = np.random.default_rng(3)
    features = np.stack([rng.integers(0, 3, n), rng.integers(0, 2, n), rng.integers(0, 40, n)])
    wrong = rng.random(n) < np.where(features[0] == 1, 0.5, 0.2)
    texts = [[None if each == 39 else str(each) for each in column] for column in features.tolist()]
    columns = dict(zip(("camera", "split", "batch"), texts, strict=True))
    rest = {
        "image_id": np.arange(n),
        "label": np.zeros(n, int),
        "pred": np.where(wrong, -1, 0),
        "confidence": np.ones(n),
    }
    con.register("_made", pa.table({**rest, **{key: pa.array(each, pa.string()) for key, each in columns.items()}}))
    con.execute("create or replace table sliced as from _made").fetchall()
    return texts, wrong


def one_sided(inside: np.ndarray, wholes: list[np.ndarray], wrong: np.ndarray) -> float:
    """The largest of Fisher's exact one-sided p-values, each against the rest of one whole."""
    n, k = int(inside.sum()), int(wrong[inside].sum())
    tables = [[[k, n - k], [int(wrong[all_].sum()) - k, int((~wrong)[all_].sum()) - (n - k)]] for all_ in wholes]
    return float(max(stats.fisher_exact(table, alternative="greater").pvalue for table in tables))


@pytest.mark.parametrize("macro", ["slices", "slice_pairs"])
def test_slices(shared: duckdb.DuckDBPyConnection, macro: str) -> None:
    texts, wrong = sliced(shared)
    names = ["camera", "split", "batch"]
    actual = rows(shared, f"from {macro}('sliced', {names}, min_n := 25)")
    parts = {
        (name, value): np.array([text == value for text in column])
        for name, column in zip(names, texts, strict=True)
        for value in set(column)
    }
    everything = np.ones(len(wrong), bool)
    groups: dict[tuple[str, str | None], tuple[np.ndarray, list[np.ndarray]]] = {}
    if macro == "slices":
        groups = {key: (inside, [everything]) for key, inside in parts.items() if inside.sum() >= 25}
    else:
        for a, b in itertools.combinations(parts, 2):
            inside = parts[a] & parts[b]
            if a[0] != b[0] and inside.sum() >= 25:
                key = f"{a[0]} × {b[0]}", f"{a[1] or 'NULL'} × {b[1] or 'NULL'}"
                groups[key] = inside, [everything, parts[a], parts[b]]
    assert {(row["feature"], row["value"]) for row in actual} == groups.keys()
    base = wrong.mean()
    for row in actual:
        inside, wholes = groups[row["feature"], row["value"]]
        n, k = int(inside.sum()), int(wrong[inside].sum())
        assert (row["n"], row["n_wrong"]) == (n, k)
        interval = stats.binomtest(k, n).proportion_ci(method="wilson")
        same(row["ci_low"], interval.low)
        same(row["ci_high"], interval.high)
        same(row["error_rate"], k / n)
        same(row["lift"], k / n / base)
        same(row["diff"], k / n - base)
        same(row["excess_errors"], k - n * base, 1e-11)
        assert row["p_value"] == pytest.approx(one_sided(inside, wholes, wrong), rel=1e-9)
    p = np.array([row["p_value"] for row in actual])
    order = np.argsort(p)
    holm = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)))
    assert np.allclose(np.array([row["p_holm"] for row in actual])[order], holm, atol=1e-14)
    assert np.allclose([row["p_bh"] for row in actual], stats.false_discovery_control(p), atol=1e-14)
    assert [row["ci_low"] for row in actual] == sorted((row["ci_low"] for row in actual), reverse=True)


def test_corrections_of_statsmodels(shared: duckdb.DuckDBPyConnection) -> None:
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    sliced(shared)
    actual = rows(shared, "from slices('sliced', ['camera', 'batch'])")
    p = [row["p_value"] for row in actual]
    for column, method in (("p_holm", "holm"), ("p_bh", "fdr_bh")):
        assert np.allclose([row[column] for row in actual], multitest.multipletests(p, method=method)[1], atol=1e-14)


def test_a_slice_has_one_p_value(shared: duckdb.DuckDBPyConnection) -> None:
    """`slices`, `slice_pairs` and `worst_slices` test in the same way."""
    sliced(shared)
    call = "('sliced', ['camera', 'split', 'batch'], min_n := 15"
    actual = [
        {(row["feature"], row["value"]): row["p_value"] for row in rows(shared, f"from {name}{call}{more})")}
        for name, more in (("slices", ""), ("slice_pairs", ""), ("worst_slices", ", max_rows := 1000, alpha := 2"))
    ]
    assert actual[2] == pytest.approx({**actual[0], **actual[1]}, rel=1e-12)


def test_equal_runs_of_bad_luck_are_not_found(shared: duckdb.DuckDBPyConnection) -> None:
    """60 slices of 20 images at 1 % error: the corrected test keeps to its level, as the pooled z test did not (0.59)."""
    rng, alarms = np.random.default_rng(0), 0
    for _ in range(40):
        wrong = rng.random(1200) < 0.01
        made = pa.table(
            {"image_id": range(1200), "label": [0] * 1200, "pred": wrong.astype(int), "batch": np.arange(1200) % 60}
        )
        shared.register("_made", made)
        shared.execute("create or replace table unlucky as from _made").fetchall()
        actual = rows(shared, "from slices('unlucky', ['batch'])")
        alarms += min(row["p_holm"] for row in actual) < 0.05
    assert alarms <= 4


def test_no_alarm_where_nothing_is(con: duckdb.DuckDBPyConnection) -> None:
    """Equal chances everywhere: 60 values of 20 images at 1 % errors, and pairs of 6 x 5 values at 20 %.

    100 data sets each, nominal 5 %, Monte Carlo error 2.2 %; the pooled z test alarms in more than half of the first.
    """
    rng = np.random.default_rng(9)
    alarms = {"slices": 0, "slice_pairs": 0}
    for _ in range(100):
        for macro, share, columns in [
            ("slices", 0.01, {"camera": np.arange(1200) % 60}),
            ("slice_pairs", 0.2, {"camera": rng.integers(0, 6, 1200), "light": rng.integers(0, 5, 1200)}),
        ]:
            pred = (rng.random(1200) < share).astype("int32")
            con.register("drawn", pa.table({"label": 0 * pred, "pred": pred, **columns}))
            names = ", ".join(f"'{name}'" for name in columns)
            found = con.execute(f"select 1 from {macro}('drawn', [{names}]) where p_holm < 0.05").fetchall()
            alarms[macro] += bool(found)
    assert max(alarms.values()) <= 0.05 * 100 + 2 * 2.2, alarms


def planted(con: duckdb.DuckDBPyConnection, frame: pd.DataFrame, wrong: np.ndarray, name: str = "made") -> list[str]:
    """A relation with these columns and these mistakes; gives the columns."""
    base = {"image_id": np.arange(len(wrong)) + 10, "label": 1, "pred": np.where(wrong, 2, 1)}
    confidence = {} if "confidence" in frame else {"confidence": np.linspace(0, 1, len(wrong))}
    con.register("_given", pd.DataFrame({**base, **confidence}).join(frame))
    con.execute(f"create or replace table {name} as from _given").fetchall()
    con.unregister("_given")
    return list(frame.columns)


def worst_slices(con: duckdb.DuckDBPyConnection, cols: list[str], **values: object) -> pd.DataFrame:
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
    actual = con.execute("select _fisher_greater(?, ?, ?, ?)", [k1, n1, k2, n2]).fetchall()[0][0]
    expected = stats.fisher_exact([[k1, n1 - k1], [k2, n2 - k2]], alternative="greater").pvalue
    assert actual == pytest.approx(expected, rel=1e-10)


def test_fisher_greater_of_large_numbers_and_edges(con: duckdb.DuckDBPyConnection) -> None:
    rng = np.random.default_rng(0)
    for _ in range(100):
        n1, n2 = (int(each) for each in 10 ** rng.uniform(0, 6, 2))
        k1, k2 = int(rng.binomial(n1, rng.uniform(0, 0.5))), int(rng.binomial(n2, rng.uniform(0, 0.5)))
        actual = con.execute("select _fisher_greater(?, ?, ?, ?)", [k1, n1, k2, n2]).fetchall()[0][0]
        assert actual == pytest.approx(stats.hypergeom.sf(k1 - 1, n1 + n2, k1 + k2, n1), rel=1e-6, abs=1e-280)
    rows = con.sql(
        "select _fisher_greater(0, 0, 0, 0), _fisher_greater(0, 3, 0, 4), _fisher_greater(3, 3, 0, 0), "
        "_fisher_greater(null, 1, 1, 1)"
    ).fetchall()
    assert rows == [(1, 1, pytest.approx(1), None)]


@pytest.mark.parametrize(
    ("low", "high", "name"),
    [(0.1234, 0.3098, "0.12–0.31"), (0, 0.25, "0.00–0.25"), (200, 500, "200–500"), (3, 3, "3"), (0.1, 0.1, "0.1"),
     (-12.5, 7.25, "-12–7"), (0.5001, 0.5002, "0.50010–0.50020"), (1234.5, 98765.4, "1234–98765"), (None, None, None)],
)  # fmt: skip
def test_number_range(con: duckdb.DuckDBPyConnection, low: float, high: float, name: str) -> None:
    assert con.execute("select _number_range(?::double, ?::double)", [low, high]).fetchall() == [(name,)]


def expected(frame: pd.DataFrame, wrong: np.ndarray, min_n: int, bins: int) -> pd.DataFrame:
    """Every slice and pair by pandas and scipy: counts, p-value, and p-value after weighted Benjamini and Hochberg."""
    groups: dict[str, list[np.ndarray]] = {}
    for name, values in frame.items():
        if values.dtype.kind == "f":
            cuts = np.quantile(values, np.arange(1, bins) / bins)
            values = pd.Series(np.searchsorted(cuts, values, side="right"))
        groups[str(name)] = [(values == key).to_numpy() for key in values.unique()]
    actual = []
    for names in [*((each,) for each in groups), *itertools.combinations(groups, 2)]:
        for parts in itertools.product(*(groups[each] for each in names)):
            inside = np.logical_and.reduce(parts)
            n, k = int(inside.sum()), int(wrong[inside].sum())
            if n >= min_n:
                wholes = [np.ones(len(wrong), bool), *(parts if len(parts) == 2 else [])]
                tails = [stats.hypergeom.sf(k - 1, each.sum(), wrong[each].sum(), n) for each in wholes]
                actual.append((" × ".join(names), n, k, max(tails)))
    table = pd.DataFrame(actual, columns=["feature", "n", "n_wrong", "p_value"])
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
    cols = planted(con, frame, wrong)
    actual = worst_slices(con, cols, min_n=30, bins=5, max_rows=1000, alpha=2.0)
    reference = expected(frame, wrong, 30, 5)
    pair = [
        table.sort_values(["feature", "n", "n_wrong", "p_value"], ignore_index=True) for table in (actual, reference)
    ]
    for column in ("feature", "n", "n_wrong"):
        assert list(pair[0][column]) == list(pair[1][column])
    for column in ("p_value", "p_bh"):
        assert np.allclose(pair[0][column], pair[1][column], rtol=1e-8, atol=0)
    for row in actual.to_dict("records"):
        interval = stats.binomtest(row["n_wrong"], row["n"]).proportion_ci(method="wilson")
        assert (row["ci_low"], row["ci_high"]) == pytest.approx((interval.low, interval.high), abs=1e-12)
        assert row["lift"] == pytest.approx(row["n_wrong"] / row["n"] / wrong.mean())
    assert actual["ci_low"].is_monotonic_decreasing
    significant = worst_slices(con, cols, min_n=30, bins=5)
    assert len(significant) == (reference["p_bh"] < 0.05).sum() > 0
    assert significant["feature"][0] == "light × camera"
    assert significant["value"][0].endswith(" × 1")
    assert len(worst_slices(con, cols, min_n=30, bins=5, max_rows=1)) == 1


def test_weights_of_the_correction(con: duckdb.DuckDBPyConnection) -> None:
    """20 slices and 10 pairs get half of the weight each: 0.75 a slice and 1.5 a pair."""
    rng = np.random.default_rng(2)
    n_wrong, is_pair = rng.integers(4, 30, 30), rng.permutation(np.repeat([False, True], [20, 10]))
    whole = {"n": 1000, "n_wrong": 100}
    wholes = [[whole] * 3 if pair else [whole] for pair in is_pair]
    made = {
        "run": ["r"] * 30,
        "feature": ["a"] * 30,
        "value": range(30),
        "n": [100] * 30,
        "n_wrong": n_wrong,
        "wholes": wholes,
    }
    con.register("_given", pa.table(made))
    con.execute("create table given as from _given").fetchall()
    actual = con.sql("from _slice_tests('given', 1)").df().set_index("value").sort_index()
    p = np.array(
        [stats.fisher_exact([[k, 100 - k], [100 - k, 800 + k]], alternative="greater").pvalue for k in n_wrong]
    )
    assert np.allclose(actual["p_value"], p, rtol=1e-9)
    weight = np.where(is_pair, 1.5, 0.75)
    order = np.argsort(p / weight, kind="stable")
    left = np.cumsum(weight[order][::-1])[::-1]
    holm = np.minimum(1, np.maximum.accumulate((p / weight)[order] * left))
    assert np.allclose(np.sort(actual["p_holm"]), np.sort(holm))
    assert np.allclose(actual["p_bh"], stats.false_discovery_control(np.minimum(1, p / weight)))


def test_a_planted_failure_comes_first_and_alone(con: duckdb.DuckDBPyConnection) -> None:
    rng = np.random.default_rng(0)
    n = 3000
    frame = innocent(rng, n).assign(brightness=rng.beta(2, 2, n))
    wrong = rng.random(n) < np.where(frame["brightness"] < 0.25, 0.35, 0.1)
    actual = worst_slices(con, planted(con, frame, np.asarray(wrong)))
    assert list(actual["feature"]) == ["brightness"]
    (row,) = actual.to_dict("records")
    assert row["value"].startswith("0.0")
    assert row["value"].endswith("–0.33")
    dark = frame["brightness"] < np.quantile(frame["brightness"], 0.25)
    assert (row["n"], row["n_wrong"]) == (dark.sum(), wrong[dark].sum())
    assert list(row["exemplars"]) == list((np.flatnonzero(dark & wrong) + 10)[::-1][:5])


def test_nothing_is_reported_of_nothing(con: duckdb.DuckDBPyConnection) -> None:
    con.execute("set threads = 1").fetchall()
    reported = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        cols = planted(con, innocent(rng, 400), rng.random(400) < 0.1)
        reported += len(worst_slices(con, cols)) > 0
    assert reported <= 1


def test_exemplars_are_the_most_confident_mistakes(con: duckdb.DuckDBPyConnection) -> None:
    n = 200
    confidence: list[float | None] = [math.nan, None, 0.5, 0.9, 0.9, 0.1, 0.2] + [0.99] * (n - 7)
    frame = pd.DataFrame({"camera": ["bad"] * 20 + ["good"] * (n - 20), "confidence": confidence})
    planted(con, frame, np.arange(n) < 7)
    con.execute("update made set confidence = null where image_id = 11").fetchall()
    actual = worst_slices(con, ["camera"])
    assert list(actual["value"]) == ["bad"]
    assert list(actual["exemplars"][0]) == [13, 14, 12, 16, 15]
    con.execute("delete from made where image_id in (13, 14)").fetchall()
    assert list(worst_slices(con, ["camera"], min_n=10)["exemplars"][0]) == [12, 16, 15, 10, 11]


def test_kinds_of_columns(con: duckdb.DuckDBPyConnection) -> None:
    n = 400
    index = np.arange(n)
    frame = pd.DataFrame(
        {
            "few": index % 3,
            "wide": index * 7,
            "flat": np.ones(n),
            "half": np.where(index < 200, 0.0, index / 100),
            "holes": np.where(index < 40, np.nan, index % 10 / 10),
            "endless": np.where(index < 40, np.inf, index % 10 / 10),
            "day": pd.to_datetime("2026-01-01") + pd.to_timedelta(index % 2, "D"),
            "yes": index % 2 == 0,
            'odd "name" × ': np.where(index < 40, None, "x"),
        }
    )
    cols = planted(con, frame, index % 7 == 0)
    con.execute("alter table made add column fixed decimal(9, 2); update made set fixed = image_id / 7").fetchall()
    con.execute("alter table made add column parts integer[]; update made set parts = [1, 2]").fetchall()
    con.execute(
        "update made set holes = case when image_id < 30 then null else 'nan' end where image_id < 50"
    ).fetchall()
    names = [*cols, "fixed", "parts"]
    actual = metric(con, "worst_slices", "made", cols=names, min_n=1, alpha=2.0, max_rows=10_000).fetchall()
    values = {name: {row[1] for row in actual if row[0] == name} for name in names}
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
    assert "few × yes" in {row[0] for row in actual}
    planted(con, frame, index < 40)
    certain = metric(con, "worst_slices", "made", cols=['odd "name" × ', "few"]).fetchall()
    assert certain[0][:5] == ('odd "name" × ', None, 40, 40, 1.0)


def test_a_pair_is_told_only_when_it_says_more(con: duckdb.DuckDBPyConnection) -> None:
    rng = np.random.default_rng(1)
    n = 4000
    frame = pd.DataFrame({"a": rng.integers(0, 3, n).astype(str), "b": rng.integers(0, 3, n).astype(str)})
    both = (frame["a"] == "1") & (frame["b"] == "2")
    cols = planted(con, frame, rng.random(n) < np.where(both, 0.5, 0.1))
    actual = worst_slices(con, cols)
    assert (actual["feature"][0], actual["value"][0]) == ("a × b", "1 × 2")
    assert set(actual["feature"][1:]) <= {"a", "b"}
    cols = planted(con, frame, rng.random(n) < np.where(frame["a"] == "1", 0.5, 0.1))
    assert list(worst_slices(con, cols)["value"]) == ["1"]


def test_edges(con: duckdb.DuckDBPyConnection) -> None:
    frame = pd.DataFrame({"a": np.arange(100) % 4, "x": np.arange(100) / 100})
    for wrong in (np.zeros(100, bool), np.ones(100, bool)):
        assert len(worst_slices(con, planted(con, frame, wrong))) == 0
    planted(con, frame, frame["a"].to_numpy() == 0)
    assert list(worst_slices(con, ["a"])["value"]) == ["0"]
    assert list(worst_slices(con, ["A", "a"])["value"]) == ["0"]
    con.execute("update made set pred = -1 where pred = 2").fetchall()
    assert list(worst_slices(con, ["a"])["n_wrong"]) == [25]
    con.execute("update made set label = null where a = 0 and image_id < 60; ").fetchall()
    assert list(worst_slices(con, ["a"], min_n=5)["n_wrong"]) == [12]
    con.execute("create view stacked as from made union all select * replace (image_id + 1000 as image_id) from made")
    (stacked,) = con.sql("from worst_slices('stacked', ['a'], min_n := 5)").fetchall()
    assert stacked[3] == 24
    con.execute("delete from made").fetchall()
    assert len(worst_slices(con, ["a", "x"])) == 0


def test_nothing_is_worse_and_nothing_was_tried(con: duckdb.DuckDBPyConnection) -> None:
    """No row says that slices were tested; where none could be, that is an error, also if only rows are counted."""
    wrong = np.arange(100) % 8 < 2  # as often in each half
    planted(con, pd.DataFrame({"half": np.arange(100) % 2, "all": "x", "each": np.arange(100).astype(str)}), wrong)
    assert len(worst_slices(con, ["half"])) == len(worst_slices(con, ["half", "all", "each"])) == 0
    for cols, more in ((["all"], {}), (["each", "all"], {}), (["half"], {"min_n": 51})):
        at_least = more.get("min_n", 20)
        message = f"made: nothing to test: no value of {', '.join(cols)} has at least {at_least} images \\(min_n\\)"
        with pytest.raises(QueryError, match=message):
            worst_slices(con, cols, **more)
        with pytest.raises(duckdb.InvalidInputException, match=message):
            con.execute(f"select count(*) from worst_slices('made', {cols}, min_n := {at_least})").fetchall()
    con.execute("create table few as from made where image_id % 4 = 0").fetchall()
    with pytest.raises(QueryError, match=r"few: nothing to test"):
        metric(con, "worst_slices", ["made", "few"], cols=["half"], min_n=30)


@pytest.mark.parametrize("name", ["slices", "slice_pairs", "worst_slices"])
def test_an_unknown_column_is_named(con: duckdb.DuckDBPyConnection, name: str) -> None:
    planted(con, pd.DataFrame({"camera": ["a"] * 30, "split": ["b"] * 30}), np.arange(30) < 3)
    with pytest.raises(SchemaError, match="'made' has no column 'camra'; did you mean camera"):
        metric(con, name, "made", cols=["split", "camra"])
    with pytest.raises(duckdb.BinderException, match='Column "camra" was selected but was not found'):
        con.sql(f"from {name}('made', ['split', 'camra'])").fetchall()


# What must be noticed: a macro, a text in its file, what stands there instead, and a check that must fail then.
MUTANTS = [
    Mutant(
        "_slice_p", "list_max(list_transform(", "list_min(list_transform(", lambda con: test_slices(con, "slice_pairs")
    ),
    Mutant(
        "_slice_tests",
        "p_value / weight * weight_left",
        "p_value / weight * tests",
        lambda con: test_slices(con, "slices"),
    ),
    Mutant(
        "_slice_cells", "not _correct(label, pred)", "_correct(label, pred)", lambda con: test_slices(con, "slices")
    ),
]


@pytest.mark.parametrize("mutant", MUTANTS, ids=[f"{mutant.name}-{number}" for number, mutant in enumerate(MUTANTS)])
def test_a_mutant_is_noticed(con: duckdb.DuckDBPyConnection, mutant: Mutant) -> None:
    assert is_noticed(con, mutant)
