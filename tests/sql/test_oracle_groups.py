"""Images in groups: cluster-robust intervals and tests against statsmodels, and what has no effect or no answer."""

from __future__ import annotations

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from scipy import stats

import sqlanalysis
from sqlanalysis.errors import ArgumentError, SchemaError

from ..support import simulations as sim
from ..support.oracle import rows


@pytest.fixture
def two(con: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyConnection:
    """Runs a and b over 40 patients with 25 images each; b is better."""
    made = sim.grouped(40, 25, 0.4, 0.7, 3, 2)
    better = np.where(np.arange(1000) % 7 == 0, 0, made["pred_1"])
    table = pa.table({key: made[key] for key in ("image_id", "label", "patient")} | {"a": made["pred_0"], "b": better})
    con.register("answers", table)
    for run in "ab":
        con.execute(f"create table {run} as select image_id, label, patient, {run} as pred from answers").fetchall()
    return con


def clustered(values: np.ndarray, cluster: np.ndarray) -> tuple[float, float]:
    """Standard error and t of a mean by statsmodels, corrected by G / (G - 1)."""
    sm = pytest.importorskip("statsmodels.api")
    fit = sm.OLS(values, np.ones(len(values))).fit(
        cov_type="cluster", cov_kwds={"groups": cluster, "use_correction": False}, use_t=True
    )
    groups = len(set(cluster))
    error = float(fit.bse[0]) * np.sqrt(groups / (groups - 1))
    return error, float(values.mean() / error)


def test_the_difference_is_that_of_statsmodels(two: duckdb.DuckDBPyConnection) -> None:
    """The design effect is the ratio of both variances, with half a group of 25 more in which the runs differ."""
    a, b, label, patient = (two.execute(f"select {x} from answers order by image_id").fetchnumpy()[x] for x in
                            ("a", "b", "label", "patient"))  # fmt: skip
    d = (b == label).astype(int) - (a == label).astype(int)
    error, t = clustered(d, patient)
    (counts,) = rows(two, "from _pair_counts('b', 'a', groups := patient)")
    assert (counts["n"], counts["n_groups"], counts["df"]) == (1000, 40, 39)
    within, between = 1000 * d.var(), (1000 * error) ** 2 * 39 / 40
    assert counts["deff"] == pytest.approx((between + 25**2 / 2) / (within + 25 / 2) * 40 / 39, rel=1e-9)
    (test,) = rows(two, "from mcnemar('b', 'a', groups := patient)")
    q = stats.t.ppf(0.975, 39)
    assert test["p_exact"] == pytest.approx(2 * stats.t.sf(abs(t), 39), rel=0.15)
    assert (test["ci_low"], test["ci_high"]) == pytest.approx((d.mean() - q * error, d.mean() + q * error), abs=0.005)
    assert test["p_mid"] is test["p_chi2"] is None
    sentence = rows(two, "from verdict('b', 'a', groups := patient)")[0]["sentence"]
    assert "in 40 groups" in sentence


def test_the_interval_of_many_groups_is_that_of_statsmodels(con: duckdb.DuckDBPyConnection) -> None:
    made = sim.grouped(2000, 6, 0.5, 0.7, 1)
    right = made["pred_0"] == 0
    error, _ = clustered(right.astype(int), made["patient"])
    low, high = sim.answer(
        con, made | {"pred": made["pred_0"]}, "select ci_low, ci_high from accuracy('made', groups := patient)"
    )
    assert (high - low) / 2 == pytest.approx(stats.t.ppf(0.975, 1999) * error, rel=0.01)


def test_the_interval_of_a_difference_over_many_groups_is_that_of_statsmodels(con: duckdb.DuckDBPyConnection) -> None:
    made = sim.answers_in_groups(1500, 6, 0.5, 0.8, 5, 0.03)
    d = (made["pred_1"] == made["label"]).astype(int) - (made["pred_0"] == made["label"]).astype(int)
    error, _ = clustered(d, made["patient"])
    for call in (
        "select ci_low, ci_high from mcnemar('b', 'a', groups := patient)",
        "select ci_low, ci_high from paired_bootstrap('b', 'a', groups := patient) where metric = 'accuracy'",
        "select balanced_low, balanced_high from verdict('b', 'a', groups := patient)",
    ):
        ((low, high),) = sim.ends_of_runs(con, made, call)
        assert (high - low) / 2 == pytest.approx(stats.t.ppf(0.975, 1499) * error, rel=0.08), call


@pytest.mark.parametrize("nested", [False, True])
def test_balanced_difference_by_groups(con: duckdb.DuckDBPyConnection, nested: bool) -> None:
    """Sums of what the images add, squared, in pandas; a class of 3 of 30 groups, or of all."""
    made = sim.answers_in_groups(30, 12, 0.4, 0.8, 8, 0.1, nested, uneven=True)
    frame = pd.DataFrame(made)
    frame["gain"] = (frame.pred_1 == frame.label).astype(int) - (frame.pred_0 == frame.label).astype(int)
    frame["part"] = frame.gain / frame.groupby("label").gain.transform("size") / frame.label.nunique()
    ((deff, df, n),) = sim.ends_of_runs(con, made, "select deff, df, n from _pair_counts('b', 'a', groups := patient)")
    error = np.sqrt((frame.groupby("patient").part.sum() ** 2).sum() + (deff / n) ** 2)
    ((diff, low, high),) = sim.ends_of_runs(
        con, made, "select balanced_diff, balanced_low, balanced_high from verdict('b', 'a', groups := patient)"
    )
    assert diff == pytest.approx(frame.groupby("label").gain.mean().mean())
    assert ((high - low) / 2, (high + low) / 2) == pytest.approx((stats.t.ppf(0.975, df) * error, diff), rel=2e-3)


def test_one_interval_of_accuracy_and_of_a_difference(con: duckdb.DuckDBPyConnection) -> None:
    """The bootstrap differs from the formula by its own noise only, in both directions and for p."""
    made = sim.answers_in_groups(40, 15, 0.4, 0.9, 2, 0.04, uneven=True)
    call = "select ci_low, ci_high from {} where {}"
    (plain,) = sim.ends_of_runs(con, made, call.format("accuracy('a', groups := patient)", "true"))
    (resampled,) = sim.ends_of_runs(
        con, made, call.format("bootstrap_ci('a', n_resamples := 4000, groups := patient)", "metric = 'accuracy'")
    )
    assert resampled == pytest.approx(plain, abs=0.006)
    for level in (0.5, 0.9, 0.99):
        for row in sim.ends_of_runs(
            con, made, f"select * from paired_bootstrap('b', 'a', level := {level}, groups := patient)"
        ):
            _, _, _, diff, low, high, p = row
            assert low <= diff <= high
            assert (low > 0 or high < 0) == (p < 1 - level)


def test_all_right_in_groups(con: duckdb.DuckDBPyConnection) -> None:
    """Nothing varies, but 20 groups tell not more than 20 groups; the interval is near that of accuracy."""
    made = sim.answers_in_groups(20, 10, 0.4, 0.9, 2)
    made["pred_0"] = made["pred_1"] = made["label"]
    (plain,) = sim.ends_of_runs(con, made, "select ci_low, ci_high from accuracy('a', groups := patient)")
    five = sim.ends_of_runs(con, made, "select ci_low, ci_high from bootstrap_ci('a', groups := patient)")
    assert five[0] == pytest.approx(plain, abs=0.005)
    assert all(0.6 < low < 0.95 and high == pytest.approx(1) for low, high in five)
    for call in ("mcnemar('b', 'a', groups := patient)", "paired_bootstrap('b', 'a', groups := patient)"):
        for low, high in sim.ends_of_runs(con, made, f"select ci_low, ci_high from {call}"):
            assert low == pytest.approx(-high)
            assert 0.05 < high < 0.2


def test_without_groups_as_ever(con: duckdb.DuckDBPyConnection) -> None:
    """The same numbers for a seed as before there were groups."""
    rng = np.random.default_rng(7)
    y = rng.integers(0, 4, 200)
    made = {
        "image_id": np.arange(200), "label": y,
        "pred_0": np.where(rng.random(200) < 0.8, y, rng.integers(0, 4, 200)),
        "pred_1": np.where(rng.random(200) < 0.9, y, rng.integers(-1, 4, 200)),
    }  # fmt: skip
    for by in ("null", "case when image_id < 0 then 1 end"):
        given = f"n_resamples := 100, seed := 3, groups := {by}"
        found = sim.ends_of_runs(con, made, f"select ci_low, ci_high from bootstrap_ci('a', {given})")
        assert np.array(found) == pytest.approx(np.array([
            (0.784145541958042, 0.8823535313001605), (0.7807729828417019, 0.8835090048214408),
            (0.778642529183806, 0.88259552839875), (0.709739140239001, 0.8423612668227672),
            (0.712694513296713, 0.8451531876361453),
        ]), abs=1e-14)  # fmt: skip
        found = sim.ends_of_runs(
            con, made, f"select ci_low, ci_high, p_two_sided from paired_bootstrap('b', 'a', {given})"
        )
        assert np.array(found) == pytest.approx(np.array([
            (0.02334726443768996, 0.16383089395896108, 4 / 101), (0.026272004994526494, 0.16790031325922078, 2 / 101),
            (0.041698865602624056, 0.17391726846379352, 2 / 101),
        ]), abs=1e-14)  # fmt: skip
        found = sim.ends_of_runs(
            con, made, f"select balanced_low, balanced_high from verdict('b', 'a', groups := {by})"
        )
        assert found[0] == pytest.approx((0.03504988780146685, 0.16693301989701687), abs=1e-14)


@pytest.mark.parametrize(
    "call",
    ["accuracy('b'{})", "accuracy_by('b', image_id % 3{})", "mcnemar('b', 'a'{})", "verdict('b', 'a'{})",
     "bootstrap_ci('b', n_resamples := 50{})", "paired_bootstrap('b', 'a', n_resamples := 50{})"],
)  # fmt: skip
def test_groups_of_none_one_and_all(two: duckdb.DuckDBPyConnection, call: str) -> None:
    plain = two.execute(f"from {call.format('')}").fetchall()
    assert two.execute(f"from {call.format(', groups := null')}").fetchall() == plain
    nothing = two.execute(f"from {call.format(', groups := case when image_id < 0 then 1 end')}").fetchall()
    assert nothing == plain
    if "bootstrap" not in call:
        assert two.execute(f"from {call.format(', groups := image_id')}").fetchall() == plain
    for row in rows(two, f"from {call.format(', groups := 1')}"):
        assert row["ci_low"] is row["ci_high"] is None
    grouped = rows(two, f"from {call.format(', groups := patient')}")
    if call.startswith(("accuracy(", "mcnemar", "verdict")):
        before = rows(two, f"from {call.format('')}")[0]
        assert grouped[0]["ci_high"] - grouped[0]["ci_low"] > 1.2 * (before["ci_high"] - before["ci_low"])


def test_images_without_a_group_stand_alone(two: duckdb.DuckDBPyConnection) -> None:
    some = "case when patient < 20 then patient end"
    named = f"coalesce({some}::varchar, 'image ' || image_id)"
    for call in ("accuracy('b', groups := {})", "mcnemar('b', 'a', groups := {})", "verdict('b', 'a', groups := {})"):
        found = two.execute(f"from {call.format(some)}").fetchall()
        assert found == [pytest.approx(row) for row in two.execute(f"from {call.format(named)}").fetchall()]


def test_each_slice_and_run_has_its_own_groups(two: duckdb.DuckDBPyConnection) -> None:
    two.execute("create view part as from b where image_id % 3 = 1").fetchall()
    by = {row["slice"]: row for row in rows(two, "from accuracy_by('b', image_id % 3, groups := patient)")}
    (alone,) = rows(two, "from accuracy('part', groups := patient)")
    assert (by[1]["ci_low"], by[1]["ci_high"]) == (alone["ci_low"], alone["ci_high"])
    lists = {row["run"]: row for row in rows(two, "from accuracy(['part', 'b'], groups := patient)")}
    assert lists["part"] == alone
    assert lists["b"] == rows(two, "from accuracy('b', groups := patient)")[0]


def test_from_python(two: duckdb.DuckDBPyConnection) -> None:
    found = sqlanalysis.metric(two, "accuracy", "b", groups="patient").fetchall()
    assert found == two.execute("from accuracy('b', groups := patient)").fetchall()
    with pytest.raises(ArgumentError, match="quoted constant"):
        sqlanalysis.metric(two, "accuracy", "b", groups="'patient'")
    with pytest.raises(SchemaError, match="no column 'patients'"):
        sqlanalysis.metric(two, "accuracy", "b", groups="patients")


def test_gate(two: duckdb.DuckDBPyConnection) -> None:
    """A bound that the plain interval reaches and the one by groups does not."""
    (plain,), (wide,) = (rows(two, f"from accuracy('b'{by})") for by in ("", ", groups := patient"))
    bound = (plain["ci_low"] + wide["ci_low"]) / 2
    statuses = {}
    for by in (None, "patient"):
        checked = sqlanalysis.check(two, run="b", min_accuracy=bound, baseline="a", max_drop=0.01, groups=by)
        statuses[by] = {each.name: each for each in checked.results}
    assert statuses[None]["min_accuracy"].status == "pass"
    assert statuses["patient"]["min_accuracy"].status == "fail"
    assert "n = 1,000 in 40 groups" in statuses["patient"]["no_regression"].message
    assert "n = 1,000 in 40 groups" in statuses["patient"]["max_drop"].message
    with pytest.raises(SchemaError, match="no column 'patients'"):
        sqlanalysis.check(two, run="b", min_accuracy=0.5, groups="patients")
