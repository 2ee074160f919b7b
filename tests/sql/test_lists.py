"""Lists of relations: one set of rows for each run, and errors where rows would be counted for what they are not."""

from __future__ import annotations

from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from scipy import stats
from sklearn import metrics as sk

import sqlanalysis
from sqlanalysis.errors import ArgumentError, NotFoundError, QueryError
from sqlanalysis.evaluation.metrics import selection

from ..support import simulations as sim
from ..support.edge_cases import CALLS, EDGES, ONE_RELATION, Case, load, random_case
from ..support.oracle import flat, quietly, rows

# Those that count an image twice if it is there twice, and claim an interval or a test of it.
CLAIMING = [
    "accuracy", "accuracy_accepted", "accuracy_anytime", "accuracy_by", "at_threshold", "auc_per_class", "bootstrap_ci",
    "calibration_curve", "drift", "ks_test", "leaderboard", "mcnemar", "mmd", "paired", "per_class", "proper_scores",
    "scores_by",
    "slice_pairs", "slices", "threshold_for", "topk_accuracy", "weighted_accuracy", "worst_slices",
]  # fmt: skip
# A leaderboard compares its runs and fit_temperature fits one; both have tests of their own.
EACH = [name for name in ONE_RELATION if name not in ("leaderboard", "fit_temperature")]


@pytest.fixture
def three(con: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyConnection:
    """Two runs over the same 180 images, and one without rows."""
    load(con, random_case(180, 5, 11), "a")
    load(con, random_case(180, 5, 12), "b")
    load(con, EDGES["empty"], "nothing")
    return con


def listed(call: str, *names: str) -> str:
    """The call with a list of relations; what orders by image alone orders by run first."""
    return call.replace("'{0}'", str(list(names))).replace("order by image_id", "order by run, image_id")


@pytest.mark.parametrize("name", EACH)
def test_a_list_gives_the_rows_of_each(three: duckdb.DuckDBPyConnection, name: str) -> None:
    columns = [column[0] for column in three.execute(f"from {CALLS[name].format('a')}").description]
    assert columns[-1] == "run"
    each = {run: three.execute(f"from {CALLS[name].format(run)}").fetchall() for run in ("a", "b")}
    assert all(row[-1] == run for run, found in each.items() for row in found)
    both = three.execute(f"from {listed(CALLS[name], 'b', 'a')}").fetchall()
    for run, found in each.items():
        assert flat([row for row in both if row[-1] == run]) == pytest.approx(flat(found), abs=1e-12)
    assert len(both) == sum(map(len, each.values()))


def test_each_run_has_its_own_threshold_and_its_own_noise(con: duckdb.DuckDBPyConnection) -> None:
    """Runs so different that what is fitted on both together fits neither."""
    rng = np.random.default_rng(1)
    for run, signal, wrong in (("sure", 6.0, 0.1), ("poor", 2.0, 0.0), ("clean", 6.0, 0.0)):
        example = random_case(1500, 5, 8, signal)
        labels = [int(rng.integers(5)) if rng.random() < wrong else label for label in example.label]
        load(con, Case(labels, example.pred, example.probs, example.confidence), run)
    runs = ["poor", "sure", "clean"]
    for call in ("threshold_for('{0}', target_accuracy := 0.85)", "label_issues('{0}')"):
        each = {run: con.execute(f"from {call.format(run)}").fetchall() for run in runs}
        both = con.execute(f"from {listed(call, *runs)}").fetchall()
        assert all(flat([row for row in both if row[-1] == run]) == pytest.approx(flat(each[run])) for run in runs)
        assert len(both) == sum(map(len, each.values()))
    thresholds = dict(
        con.execute(f"select run, threshold from threshold_for({runs}, target_accuracy := 0.85)").fetchall()
    )
    assert thresholds["sure"] < thresholds["poor"] < 1
    found = dict(con.execute(f"select run, sum(p_wrong) from label_issues({runs}) group by run").fetchall())
    assert found["sure"] > 50 > 5 > found.get("clean", 0)


def test_what_one_run_establishes_is_not_established_for_another(con: duckdb.DuckDBPyConnection) -> None:
    """Both pass after four failures, but for only one of them a sequence of tests starts there."""
    for run, n, first in (("first_is_wrong", 40, 1), ("all_right", 100, 0)):
        confidence = np.linspace(0.9, 0.6, n).tolist()
        load(con, Case([0] * n, [first] + [0] * (n - 1), [[0.5, 0.5]] * n, confidence), run)
    both = "threshold_for(['first_is_wrong', 'all_right'], target_accuracy := 0.85)"
    found = dict(con.execute(f"select run, n_answered from {both}").fetchall())
    assert found == {"first_is_wrong": 0, "all_right": 100}


@pytest.mark.parametrize("name", EACH)
def test_a_column_run_splits_the_relation(three: duckdb.DuckDBPyConnection, name: str) -> None:
    three.execute("create view stacked as select *, 'a' as run from a union all select *, 'b' as run from b").fetchall()
    stacked = CALLS[name].format("stacked").replace("order by image_id", "order by run, image_id")
    assert flat(three.execute(f"from {stacked}").fetchall()) == pytest.approx(
        flat(three.execute(f"from {listed(CALLS[name], 'a', 'b')}").fetchall()), abs=1e-12
    )


@pytest.mark.parametrize("name", CLAIMING)
def test_an_image_that_is_there_twice_is_an_error(three: duckdb.DuckDBPyConnection, name: str) -> None:
    three.execute("create view doubled as from a union all from a").fetchall()
    three.execute("create view nameless as select * exclude (image_id) from doubled").fetchall()
    call = CALLS[name].format("doubled")
    with pytest.raises(duckdb.InvalidInputException, match="repeat an image_id"):
        three.execute(f"select count(*) from {call}").fetchall()
    if name == "accuracy":  # without an image_id nobody can tell
        assert rows(three, "from accuracy('nameless')")[0]["n"] == 360


def test_an_image_may_be_in_each_slice_once(three: duckdb.DuckDBPyConnection) -> None:
    three.execute("create view models as select *, 'x' as model from a union all select *, 'y' from b").fetchall()
    for metric in ("accuracy_by", "scores_by"):
        found = {row["slice"]: row["accuracy"] for row in rows(three, f"from {metric}('models', model)")}
        want = {part: rows(three, f"from accuracy('{run}')")[0]["accuracy"] for part, run in (("x", "a"), ("y", "b"))}
        assert found == want


@pytest.mark.parametrize(
    "call",
    ["mcnemar(['a', 'b'], 'a')", "paired('a', ['b', 'a'])", "ks_test('a', ['a', 'b'], confidence)",
     "class_purity(['a', 'b'], 'a')", "neighbor_agreement('a', ['a', 'b'])", "leaks(['a', 'b'], 'a')"],
)  # fmt: skip
def test_pairs_refuse_a_list(three: duckdb.DuckDBPyConnection, call: str) -> None:
    with pytest.raises(duckdb.InvalidInputException, match="a list of several runs, such as a and b"):
        three.execute(f"from {call}").fetchall()


def test_names_of_a_list(three: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    three.execute('create table "o\'brien" as from a; create view "my-run" as from b').fetchall()
    three.execute(f"copy a to '{tmp_path}/preds.parquet'").fetchall()
    names = ["o'brien", "my-run", f"{tmp_path}/preds.parquet", "main.nothing"]
    found = sqlanalysis.metric(three, "accuracy", names).fetchall()
    assert {row[-1]: row[0] for row in found} == {
        "o'brien": 180, "my-run": 180, f"{tmp_path}/preds.parquet": 180, "nothing": 0,
    }  # fmt: skip
    with pytest.raises(QueryError, match="given twice: a, a"):
        sqlanalysis.metric(three, "accuracy", ["a", "a"])
    with pytest.raises(NotFoundError, match="'c'"):
        sqlanalysis.metric(three, "accuracy", ["a", "c"])


def test_a_view_over_one_metric_is_the_relation_of_another(three: duckdb.DuckDBPyConnection) -> None:
    three.execute("create view softer as from with_temperature('a', 2.0)").fetchall()
    assert rows(three, "from accuracy('softer')")[0]["n"] == 180
    assert len(rows(three, "with hard as (from worst_mistakes('softer')) from accuracy_by('hard', label)")) == 5


def test_weights_see_one_run_at_a_time(three: duckdb.DuckDBPyConnection) -> None:
    three.execute("create view part as from b where image_id % 3 > 0 or label > 2").fetchall()
    weight = "1 / count(*) over (partition by label)"
    found = {row["run"]: row["accuracy"] for row in rows(three, f"from weighted_accuracy(['a', 'part'], {weight})")}
    for run in ("a", "part"):
        label, pred = np.array(three.execute(f"select label, pred from {run}").fetchall()).T
        assert found[run] == pytest.approx(sk.balanced_accuracy_score(label, pred))


def test_arguments_in_order(three: duckdb.DuckDBPyConnection) -> None:
    by_name = sqlanalysis.metric(three, "accuracy_by", "a", expr="split", level=0.9).fetchall()
    assert sqlanalysis.metric(three, "accuracy_by", "a", "split", 0.9).fetchall() == by_name
    with pytest.raises(ArgumentError, match="expr is given twice"):
        sqlanalysis.metric(three, "accuracy_by", "a", "split", expr="label")
    with pytest.raises(ArgumentError, match="accuracy takes level, is_right, groups after the relation, not 4"):
        sqlanalysis.metric(three, "accuracy", "a", 0.9, "pred = 1", "split", 7)


def test_classes_by_name(three: duckdb.DuckDBPyConnection) -> None:
    three.execute(
        "create view named as select *, ['ant', 'bee', 'cat', 'dog', 'eel'][label + 1] as label_name, "
        "['ant', 'bee', 'cat', 'dog', 'eel'][pred + 1] as pred_name from a"
    ).fetchall()
    assert rows(three, "from pr_curve('named', 'dog')") == rows(three, "from pr_curve('named', 3)")
    for cls, message in (
        ("'fox'", "no class named fox"),
        ("5", "has no class 5: its classes are 0 to 4"),
        ("-1", "0 to 4"),
    ):
        with pytest.raises(duckdb.InvalidInputException, match=message):
            three.execute(f"select count(*) from pr_curve('named', {cls})").fetchall()
    dense = rows(three, "from confusion_dense('named')")
    assert {(row["label"], row["label_name"]) for row in dense} == set(enumerate(["ant", "bee", "cat", "dog", "eel"]))


def test_arrays_of_other_lengths(con: duckdb.DuckDBPyConnection) -> None:
    """What reads neither is not hindered by them, also of some rows only."""
    load(con, random_case(60, 3, 1), "narrow", "FLOAT[3]")
    load(con, random_case(60, 5, 1), "wide", "FLOAT[5]")
    for relation in (["narrow", "wide"], selection(con, ["narrow", "wide"], where="label < 2")):
        found = sqlanalysis.metric(con, "accuracy", relation).fetchall()
        assert [row[-1] for row in found] == ["narrow", "wide"]
    for name in ("auc", "summary", "topk_accuracy"):
        each = [rows(con, f"from {name}('{run}')") for run in ("narrow", "wide")]
        together = rows(con, f"from {name}(['narrow', 'wide'])")
        assert [list(row) for row in together] == [list(row) for row in each[0] + each[1]]
        for row, alone in zip(together, each[0] + each[1], strict=True):
            assert all(
                flat(row[key]) == flat(value) or row[key] == pytest.approx(value) for key, value in alone.items()
            )


# The leaderboard


def test_leaderboard(three: duckdb.DuckDBPyConnection) -> None:
    """Every figure against scikit-learn and scipy; Holm over all three pairs."""
    three.execute("create table best as select * replace (if(image_id % 4 > 0, label, pred) as pred) from a").fetchall()
    three.execute(
        "create view bare as select image_id, label, if(image_id % 7 > 2, label, 0) as pred from a where image_id >= 20"
    ).fetchall()
    found = rows(three, "from leaderboard(['a', 'bare', 'best'])")
    data = {run: three.execute(f"from {run} order by image_id").df() for run in ("a", "bare", "best")}
    accuracy = {run: float((frame.label == frame.pred).mean()) for run, frame in data.items()}
    assert [row["run"] for row in found] == sorted(accuracy, key=accuracy.__getitem__, reverse=True)
    assert [row["place"] for row in found] == [1, 2, 3]
    p_values = {}
    for row in found:
        frame = data[row["run"]]
        assert (row["n"], row["accuracy"]) == (len(frame), pytest.approx(accuracy[row["run"]]))
        assert row["f1_macro"] == pytest.approx(quietly(sk.f1_score, frame.label, frame.pred, average="macro"))
        assert row["images_per_second"] is None
        if row["run"] == "bare":
            assert row["roc_auc_macro"] is row["ece"] is None
        else:
            probs = np.stack(frame.probs).astype(float)
            want = sk.roc_auc_score(frame.label, probs / probs.sum(axis=1, keepdims=True), multi_class="ovr")
            assert row["roc_auc_macro"] == pytest.approx(want, abs=1e-6)
        if row["run"] == "best":
            assert row["diff"] is row["p_value"] is row["p_holm"] is None
            continue
        both = pd.merge(frame, data["best"], on="image_id", suffixes=("_run", "_best"))
        run, best = both.label_run == both.pred_run, both.label_best == both.pred_best
        assert (row["n_both"], row["diff"]) == (len(both), pytest.approx(float(run.mean() - best.mean())))
        wins, losses = int((run & ~best).sum()), int((best & ~run).sum())
        p_values[row["run"]] = stats.binomtest(wins, wins + losses).pvalue
        assert row["p_value"] == pytest.approx(p_values[row["run"]])
    first, second = sorted(p_values, key=p_values.__getitem__)
    holm = {row["run"]: row["p_holm"] for row in found}
    assert holm[first] == pytest.approx(min(1, 3 * p_values[first]))
    assert holm[second] == pytest.approx(min(1, max(3 * p_values[first], 2 * p_values[second])))


def test_leaderboard_with_groups_has_the_tests_of_mcnemar(con: duckdb.DuckDBPyConnection) -> None:
    made = sim.grouped(30, 12, 0.4, 0.75, 3, 3)
    table = pa.table({key: made[key] for key in ("image_id", "label", "patient", "pred_0", "pred_1", "pred_2")})
    con.register("answers", table)
    for i, run in enumerate("abc"):
        con.execute(f"create table {run} as select image_id, label, patient, pred_{i} as pred from answers").fetchall()
    found = rows(con, "from leaderboard(['a', 'b', 'c'], groups := patient)")
    best = found[0]["run"]
    for row in found:
        (one,) = rows(con, f"from accuracy('{row['run']}', groups := patient)")
        assert (row["ci_low"], row["ci_high"]) == (one["ci_low"], one["ci_high"])
        if row["run"] != best:
            (test,) = rows(con, f"from mcnemar('{row['run']}', '{best}', groups := patient)")
            keys = {"n_both": "n", "diff": "diff", "diff_low": "ci_low", "diff_high": "ci_high", "p_value": "p_exact"}
            assert {key: row[key] for key in keys} == {key: test[other] for key, other in keys.items()}
    plain = rows(con, "from leaderboard(['a', 'b', 'c'])")
    width = {row["run"]: row["diff_high"] - row["diff_low"] for row in found[1:]}
    assert all(width[row["run"]] > 1.2 * (row["diff_high"] - row["diff_low"]) for row in plain[1:])
    lone = rows(con, "from leaderboard(['a', 'b', 'c'], groups := 1)")
    assert all(row["p_value"] is row["p_holm"] is row["diff_low"] is None for row in lone)


def test_leaderboard_refuses_other_labels(con: duckdb.DuckDBPyConnection) -> None:
    con.execute("create table a as select i as image_id, i % 3 as label, i % 3 as pred from range(60) t(i)").fetchall()
    con.execute("create table b as select i as image_id, i % 4 as label, i % 3 as pred from range(60) t(i)").fetchall()
    with pytest.raises(duckdb.Error, match="compare runs over the same labels"):
        rows(con, "from leaderboard(['a', 'b'])")


def test_leaderboard_finds_nothing_where_runs_are_equally_good(con: duckdb.DuckDBPyConnection) -> None:
    """Of 60 leaderboards of six equally good runs at most as many alarm as .05 allows with 99.9 % probability."""
    rng = np.random.default_rng(3)
    alarms = 0
    for _ in range(60):
        right = rng.random((200, 6)) < 0.8
        frame = pd.DataFrame({
            "run": np.repeat([f"r{i}" for i in range(6)], 200), "image_id": np.tile(np.arange(200), 6),
            "label": 0, "pred": 1 - right.T.ravel().astype(int),
        })  # fmt: skip
        con.register("frame", frame)
        alarms += any(
            row["p_holm"] is not None and row["p_holm"] <= 0.05 for row in rows(con, "from leaderboard('frame')")
        )
    assert alarms <= stats.binom.ppf(0.999, 60, 0.05)
