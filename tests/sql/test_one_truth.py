"""What is defined once stays so: no second definition of correct, of a worse slice, of a near duplicate, of comparable."""

from __future__ import annotations

import re

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from scipy import stats

import sqlanalysis
from sqlanalysis.db import templates

from ..support.oracle import rows, same

INDEX = templates.index()
# A prediction and a label under the names that macros and queries give them.
PRED = r"(?:\w+\.)?\b(?:_?pred|pred_run|pred_baseline|y_pred)\b"
LABEL = r"(?:\w+\.)?\b(?:_?label|y_true|true_class)\b"
COMPARED = re.compile(
    rf"{PRED}\s*(?:=|<>|!=|==|is (?:not )?distinct from)\s*{LABEL}(?!\w)|{LABEL}\s*(?:=|<>|!=|==|is (?:not )?distinct from)\s*{PRED}(?!\w)"
)


def code(text: str) -> str:
    """SQL without comments and strings."""
    return re.sub(r"--[^\n]*|\{#.*?#\}|'(?:[^']|'')*'", " ", text, flags=re.S)


def calling(pattern: str) -> set[str]:
    """Names of the objects and queries whose code matches."""
    return {name for name, each in INDEX.items() if re.search(pattern, code(each.text))}


# By text


def test_correct_is_defined_once() -> None:
    actual = {name: COMPARED.findall(code(each.text)) for name, each in INDEX.items()}
    # read_page fills a table of any connection, where our macros may not be: it has the text of the definition.
    assert {name for name, hits in actual.items() if hits} == {"_correct", "read_page"}
    assert "label = _named.pred and _named.pred >= 0 as correct" in INDEX["read_page"].text
    reading = {"_correct"}
    while more := calling("|".join(rf"\b{name}\(" for name in reading)) - reading:
        reading |= more
    counted = {
        "accuracy",
        "accuracy_by",
        "per_class",
        "scores",
        "paired",
        "slices",
        "worst_mistakes",
        "recreate_run_view",
    }
    assert counted <= reading


@pytest.mark.parametrize(
    ("text", "is_comparison"),
    [
        ("count(*) filter (where pred = label)", True),
        ("a.pred <> b.label", True),
        ("label = pred_run", True),
        ("label is distinct from pred", True),
        ("_correct(label, pred)", False),
        ("-- pred = label\nselect 1", False),
        ("select 'pred = label'", False),
        ("pred = label_rank", False),
        ("pred_run = pred_baseline", False),
    ],
)
def test_the_search_for_comparisons_works(text: str, is_comparison: bool) -> None:
    assert bool(COMPARED.search(code(text))) == is_comparison


def test_a_slice_is_tested_in_one_place() -> None:
    assert calling(r"\b_fisher_greater\(") - {"_fisher_greater"} == {"_slice_p"}
    assert calling(r"\b_slice_p\(") - {"_slice_p"} == {"_slice_tests"}
    assert calling(r"\b_slice_tests\(") - {"_slice_tests"} == {"slices", "slice_pairs", "worst_slices", "slice_table"}
    comparing = {"compare_classes", "compare_many", "leaderboard"}
    assert calling(r"\bas p_bh\b|\bas p_holm\b") - {"_slice_tests", "drift"} == comparing


def test_near_duplicates_have_one_threshold() -> None:
    """Elsewhere the name of the macro's own parameter is passed on, or nothing is."""
    assert calling(r"\bdistance\s*<=?\s*[\w.]+") == {"near_duplicates"}
    given = {name: re.findall(r"\bmax_distance\s*:=\s*([\w.]+)", code(each.text)) for name, each in INDEX.items()}
    assert {name for name, hits in given.items() if set(hits) - {"max_distance", "null"}} == set()
    assert {name for name, hits in given.items() if "null" in hits} == {"near_duplicates", "leaks", "duplicate_groups"}


def test_comparable_is_decided_once() -> None:
    deciding = calling(r"class_policy\s*<>|\brule\s*<>|<>\s*\w+\.class_policy")
    assert deciding <= {"comparable"}
    assert {"run_pair", "no_regression", "read_comparable"} <= calling(r"\bcomparable\b")


def test_a_difference_has_one_interval() -> None:
    """Page and gate may count by `mcnemar`; interval, p and whether it is established come from `verdict`."""
    readers = {
        name
        for name in calling(r"\bmcnemar\(|\b_paired_(?:low|high)\(|\bpaired\(")
        if INDEX[name].kind in ("page", "expectations")
    }
    for name in readers:
        assert not re.search(r"mcnemar\.(?:ci_|p_|diff)|\b_paired_|\bp_mid\b", code(INDEX[name].text)), name
    assert {"no_regression", "paired_test"} <= calling(r"\bverdict\(|\b_verdict_of\(")
    assert calling(r"\b_verdict_of\(") - {"_verdict_of"} == {"verdict", "paired_test"}


def test_a_target_accuracy_has_one_threshold() -> None:
    reading = calling(r"\btarget_accuracy\b")
    assert {"threshold_for"} <= reading
    assert all("threshold_for(" in code(INDEX[name].text) for name in reading - {"threshold_for"})


def test_probabilities_are_indexed_by_class_in_one_place() -> None:
    """`_confident_guesses` indexes by its own argmax, which is a class."""
    assert calling(r"\b\w*probs\w*\[\s*[\w.]+\s*\+\s*1\s*\]") <= {"_p_of", "_confident_guesses"}


def test_class_names_are_read_from_one_view() -> None:
    reading = {name for name in calling(r"\b(?:from|join) classes\b") if INDEX[name].kind == "page"}
    assert reading == set()


# By number


@pytest.fixture
def answered(con: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyConnection:
    """14 images with several right answers: run `guess` is right on half by its label, on more by any accepted answer."""
    pixels = [(np.full((2, 2), i, np.uint8), i % 3) for i in range(14)]
    sqlanalysis.add_images(con, pixels, dataset="few", classes=["a", "b", "c"])
    con.execute(
        "update images set accepted = case when image_id % 5 = 0 then [] when image_id % 2 = 0 then [0, 1, 2] end"
    ).fetchall()
    preds = [i % 3 if i % 2 else (i + 1) % 3 for i in range(14)]
    sqlanalysis.add_predictions(con, pd.DataFrame({"image_id": range(1, 15), "pred": preds}), "guess")
    return con


def test_correct_and_correct_accepted_agree_everywhere(answered: duckdb.DuckDBPyConnection) -> None:
    label, pred, accepted = zip(
        *answered.sql("select label, pred, accepted from guess order by image_id").fetchall(), strict=True
    )
    right = [a == b for a, b in zip(label, pred, strict=True)]
    any_right = [
        (b in c if c else None) if c is not None else a == b for a, b, c in zip(label, pred, accepted, strict=True)
    ]
    actual = answered.sql("select correct, correct_accepted from guess order by image_id").fetchall()
    assert actual == list(zip(right, any_right, strict=True))
    (plain,) = rows(answered, "from accuracy('guess')")
    (wide,) = rows(answered, "from accuracy_accepted('guess')")
    judged = [each for each in any_right if each is not None]
    assert (plain["n"], plain["correct"]) == (14, sum(right))
    assert (wide["n"], wide["correct"], wide["n_empty"]) == (len(judged), sum(judged), 14 - len(judged))
    assert answered.sql("select avg(correct::int) from guess").fetchall() == [(plain["accuracy"],)]
    assert answered.sql("select avg(correct_accepted::int) from guess").fetchall() == [(wide["accuracy"],)]
    for name in ("scores", "summary"):
        text = str(answered.sql(f"from {name}('guess')").fetchall())
        assert str(plain["accuracy"]) in text
    (cells,) = rows(answered, "select sum(n) filter (where label = pred) as k from confusion_matrix('guess')")
    assert cells["k"] == sum(right)
    assert rows(answered, "select sum(tp) as k from per_class('guess')")[0]["k"] == sum(right)


ODD = {
    "label": [-1, -1, -2, -2, 0, 1, 1, None, 0],
    "pred": [-1, 0, -1, -2, -1, 1, 0, 1, None],
}


@pytest.fixture
def odd(con: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyConnection:
    """Labels and predictions below 0; probabilities whose last entry is large, so that reading from the end would show."""
    n = len(ODD["label"])
    made = {
        "image_id": range(n),
        "label": pa.array(ODD["label"], pa.int32()),
        "pred": pa.array(ODD["pred"], pa.int32()),
        "confidence": pa.array([0.7] * n, pa.float32()),
        "probs": pa.array([[0.1, 0.2, 0.7]] * n, pa.list_(pa.float32())),
        "camera": ["a", "b"] * (n // 2) + ["a"],
    }
    con.register("_given", pa.table(made))
    con.execute("create table odd as from _given").fetchall()
    return con


@pytest.mark.parametrize(
    ("y_true", "y_pred", "expected"),
    [(0, 0, True), (0, 1, False), (-1, -1, False), (-2, -2, False), (0, -1, False), (-1, 0, False), (None, 0, None),
     (0, None, None), (None, -1, None), (-1, None, None), (None, None, None)],
)  # fmt: skip
def test_correct(con: duckdb.DuckDBPyConnection, y_true: object, y_pred: object, expected: object) -> None:
    assert con.execute("select _correct(?::int, ?::int)", [y_true, y_pred]).fetchall() == [(expected,)]


def test_below_zero_is_wrong_in_every_macro(odd: duckdb.DuckDBPyConnection) -> None:
    """7 images count, one is right."""
    low, high = stats.binomtest(1, 7).proportion_ci(method="wilson")
    (actual,) = rows(odd, "from accuracy('odd')")
    assert (actual["n"], actual["correct"]) == (7, 1)
    same(actual["ci_low"], low)
    same(actual["ci_high"], high)
    assert rows(odd, "select sum(correct) as k from accuracy_by('odd', camera)")[0]["k"] == 1
    assert rows(odd, "from topk_accuracy('odd', ks := [3])")[0]["correct"] == 3  # labels 0, 1, 1 are within 3 classes
    (scores,) = rows(odd, "from scores('odd')")
    same(scores["accuracy"], 1 / 7)
    assert all(0 <= value <= 1 for name, value in scores.items() if name not in ("n", "cohen_kappa", "mcc", "run"))
    assert {row["class"]: row["tp"] for row in rows(odd, "from per_class('odd')")} == {0: 0, 1: 1}
    assert rows(odd, "from accuracy_anytime('odd')")[0]["correct"] == 1
    assert rows(odd, "from weighted_accuracy('odd', 1)")[0]["accuracy"] == pytest.approx(1 / 7)
    assert rows(odd, "from proper_scores('odd')")[0]["accuracy"] == pytest.approx(1 / 7)
    assert rows(odd, "select sum(n * accuracy) as k from calibration_curve('odd')")[0]["k"] == pytest.approx(1)
    assert rows(odd, "from at_threshold('odd', 0.5)")[0]["accuracy"] == pytest.approx(1 / 7)
    assert rows(odd, "select min(kept - risk * kept) as k from risk_coverage('odd')")[0]["k"] == pytest.approx(1)
    assert len(rows(odd, "from worst_mistakes('odd')")) == 6
    assert sum(row["n_wrong"] for row in rows(odd, "from slices('odd', ['camera'], min_n := 1)")) == 6
    (pair,) = rows(odd, "from mcnemar('odd', 'odd')")
    assert (pair["n"], pair["both_right"], pair["both_wrong"]) == (7, 1, 6)
    assert rows(odd, "from agreement('odd', 'odd')")[0]["wrong_differently"] == 0
    summary = {row["metric"]: row["value"] for row in rows(odd, "from summary('odd')")}
    assert (summary["n"], summary["correct"], summary["n_wrong"]) == (7, 1, 6)


def test_a_label_below_zero_never_reads_probabilities_from_the_end(odd: duckdb.DuckDBPyConnection) -> None:
    assert odd.sql(
        "select _p_of(p, 2), _p_of(p, -2), _p_of(p, -1), _p_of(p, 3), _p_of(null, 0), _p_of(p, null) "
        "from (select [0.1, 0.2, 0.7]::double[] as p)"
    ).fetchall() == [(pytest.approx(0.7), None, None, None, None, None)]
    low = "image_id < 4"  # labels -1 and -2
    for row in rows(odd, "from worst_mistakes('odd')"):
        if row["label"] < 0:
            assert not row["p_label"]
    odd.execute(f"create or replace view below as from odd where {low}").fetchall()
    (actual,) = rows(odd, "from proper_scores('below')")
    assert actual["mean_p_label"] == 0
    assert actual["log_loss"] == pytest.approx(-np.log(1.1920929e-07), rel=1e-6)
    assert rows(odd, "from topk_accuracy('below', ks := [1, 2, 3])")[-1]["correct"] == 0
    for name in ("label_quality", "label_issues"):
        assert not [row for row in rows(odd, f"from {name}('below')") if (row["self_confidence"] or 0) > 0]
    bars = rows(odd, "from confident_thresholds('below')")
    assert all(row["n"] == 0 and row["threshold"] is None for row in bars)


def test_the_gate_the_view_and_compare_agree(answered: duckdb.DuckDBPyConnection) -> None:
    """Runs of another class policy: the view says why, `compare` refuses, `check` does not pass."""
    other = pd.DataFrame({"image_id": range(1, 15), "pred": [i % 3 for i in range(14)]})
    sqlanalysis.add_predictions(answered, other, "other")
    answered.execute("update runs set class_policy = 'open' where run = 'other'").fetchall()
    ((comparable, reason),) = answered.execute(
        "select comparable, reason from comparable where run = 'other' and baseline = 'guess'"
    ).fetchall()
    assert not comparable
    with pytest.raises(sqlanalysis.SQLAnalysisError) as refused:
        sqlanalysis.compare(answered, "other", "guess")
    assert reason in str(refused.value)
    checked = sqlanalysis.check(answered, run="other", baseline="guess")
    (actual,) = [each for each in checked.results if each.name == "no_regression"]
    assert actual.status == "fail"
    assert reason in actual.message


def test_the_gate_reads_the_verdict(answered: duckdb.DuckDBPyConnection) -> None:
    sqlanalysis.add_predictions(
        answered, pd.DataFrame({"image_id": range(1, 15), "pred": [i % 3 for i in range(14)]}), "other"
    )
    (shown,) = rows(answered, "from verdict('guess', 'other')")
    checked = sqlanalysis.check(answered, run="guess", baseline="other")
    (actual,) = [each for each in checked.results if each.name == "no_regression"]
    assert f"{100 * shown['ci_low']:+.2f} to {100 * shown['ci_high']:+.2f}" in actual.message


def test_exact_copies_are_those_of_the_view(con: duckdb.DuckDBPyConnection) -> None:
    pixels = [np.full((2, 2), i % 4, np.uint8) for i in range(6)]
    sqlanalysis.add_images(con, [(each, i % 2) for i, each in enumerate(pixels)], dataset="twice", classes=["a", "b"])
    copies = con.sql("from duplicates").fetchall()
    assert copies
    assert "duplicates" in code(INDEX["exact_copies"].text)
    assert "duplicates" in code(INDEX["check_database"].text)
