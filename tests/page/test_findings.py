"""The findings of the page: true sentences, and under nothing going on named findings in at most one of twenty data sets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest

import sqlanalysis
from sqlanalysis.page import findings
from sqlanalysis.page.sections.confusion import clustered

from ..support import report_files

Row = dict[str, Any]
TRIALS = 400
# 5 % of the trials and three standard errors of that share.
MOST = TRIALS * 0.05 + 3 * (TRIALS * 0.05 * 0.95) ** 0.5


def class_rows(names: list[str], n: Any, correct: Any) -> list[Row]:
    return [
        {"name": name, "n": int(m), "correct": int(k), "recall": k / m if m else None}
        for name, m, k in zip(names, n, correct, strict=True)
    ]


def pair_cells(labels: Any, preds: Any) -> list[Row]:
    """Rows of `confused_cells`, counted with numpy."""
    pairs, counts = np.unique(np.stack([labels, preds])[:, labels != preds], axis=1, return_counts=True)
    return sorted(
        (
            {
                "label": int(label),
                "pred": int(pred),
                "label_name": f"c{label}",
                "pred_name": f"c{pred}",
                "n": int(n),
                "of": int((labels == label).sum()),
                "share": n / (labels == label).sum(),
                "n_wrong": int(((labels == label) & (preds != label)).sum()),
            }
            for (label, pred), n in zip(pairs.T, counts, strict=True)
        ),
        key=lambda row: (-row["n"], -row["share"], row["label"], row["pred"]),
    )


@pytest.mark.parametrize(("n_classes", "n", "accuracy"), [(22, 256, 0.84), (5, 400, 0.6), (100, 2000, 0.9)])
def test_no_class_is_lower_than_the_rest_by_chance(n_classes: int, n: int, accuracy: float) -> None:
    random = np.random.default_rng(n)
    names = [f"c{k}" for k in range(n_classes)]
    found = 0
    for _ in range(TRIALS):
        labels = random.integers(0, n_classes, n)
        sizes = np.bincount(labels, minlength=n_classes)
        right = np.bincount(labels[random.random(n) < accuracy], minlength=n_classes)
        found += bool(findings.lowest_classes(class_rows(names, sizes, right)))
    assert found <= MOST


def test_the_test_of_a_class_is_fishers() -> None:
    from scipy.stats import fisher_exact

    rows = class_rows(["low", "b", "c"], [40, 60, 100], [20, 50, 90])
    (low,) = findings.lowest_classes(rows)
    p = fisher_exact([[20, 20], [20, 140]], alternative="greater")[1]
    assert low["name"] == "low"
    assert low["p_low"] == pytest.approx(3 * p)


@pytest.mark.parametrize(("n_classes", "n", "errors"), [(22, 256, 40), (4, 500, 120), (300, 3000, 600)])
def test_no_pair_stands_out_by_chance(n_classes: int, n: int, errors: int) -> None:
    random = np.random.default_rng(errors)
    found = 0
    for _ in range(TRIALS):
        labels = random.integers(0, n_classes, n)
        preds = labels.copy()
        wrong = random.choice(n, errors, replace=False)
        preds[wrong] = (labels[wrong] + random.integers(1, n_classes, errors)) % n_classes
        found += bool(findings.established_pairs(pair_cells(labels, preds), n_classes))
    assert found <= MOST


def test_a_pair_that_is_confused_is_named() -> None:
    random = np.random.default_rng(0)
    labels = random.integers(0, 22, 256)
    preds = np.where((labels == 14) & (random.random(256) < 0.5), 13, labels)
    cells = pair_cells(labels, preds)
    (held,) = findings.established_pairs(cells, 22)
    assert (held["label"], held["pred"]) == (14, 13)
    text = findings.plain(findings.confusion(cells, 22))
    assert text == f"Most often c14 is taken for c13: {held['n']} of {held['of']}."


def test_holm_is_that_of_r() -> None:
    # p.adjust(c(0.01, 0.04, 0.03, 0.005), "holm") in R
    assert findings.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert findings.holm([0.01], looks=10) == pytest.approx([0.1])
    assert findings.holm([]) == []


@pytest.mark.parametrize("bins", ["uniform", "bimodal"])
def test_a_calibrated_run_is_rarely_told_to_recalibrate(con: duckdb.DuckDBPyConnection, bins: str) -> None:
    random = np.random.default_rng(7)
    n, trials = 300, 300
    a, b = (1.0, 1.0) if bins == "uniform" else (0.5, 0.4)
    confidence = random.beta(a, b, (trials, n)).astype("float32")
    right = random.random((trials, n)) < confidence
    con.execute("create temp table calibrated (run varchar, image_id bigint, label int, pred int, confidence float)")
    report_files.fill(
        con,
        "calibrated",
        {
            "run": np.repeat([f"r{k}" for k in range(trials)], n).tolist(),
            "image_id": np.tile(np.arange(n), trials),
            "label": np.ones(trials * n, "int32"),
            "pred": right.ravel().astype("int32"),
            "confidence": confidence.ravel(),
        },
    )
    relation = con.sql("from calibration_error('calibrated')")
    errors = [dict(zip(relation.columns, row, strict=True)) for row in relation.fetchall()]
    assert len(errors) == trials
    warned = sum("No reason" not in findings.plain(findings.calibration(error, n)) for error in errors)
    assert warned <= trials * 0.05 + 3 * (trials * 0.05 * 0.95) ** 0.5


def test_sentences_of_calibration() -> None:
    error: Row = {"ece": 0.2, "ece_chance": 0.04, "ece_chance_high": 0.062, "mean_gap": 0.2, "mean_gap_chance": 0.05}
    assert findings.plain(findings.calibration(error, 256)) == (
        "Confidence is off by 0.200 on average; a perfectly calibrated run of 256 images shows 0.018 to 0.062 by chance. "
        "The run is overconfident: mean confidence is 20.0 points above accuracy."
    )
    assert "underconfident: mean confidence is 6.0 points below" in findings.plain(
        findings.calibration({**error, "mean_gap": -0.06}, 256)
    )
    assert "Too high in places" in findings.plain(findings.calibration({**error, "mean_gap": 0.01}, 256))
    assert "No reason to recalibrate." in findings.plain(findings.calibration({**error, "ece": 0.05}, 1))
    assert "run of 1 image shows" in findings.plain(findings.calibration(error, 1))
    assert "NaN" in findings.plain(findings.calibration({**error, "ece": float("nan")}, 256))


def test_sentences_of_comparison() -> None:
    test: Row = {"n": 256, "run_only": 60, "baseline_only": 25, "p_exact": 0.0001, "established": True}
    agreement = {"agreement": 164 / 256}
    assert findings.plain(findings.comparison(test, agreement)) == (
        "The runs give the same answer on 64.1% of the images. 60 became right, 25 became wrong: a net gain of 35 "
        "(McNemar, p < 0.001)."
    )
    tie = {**test, "run_only": 25, "p_exact": 1.0, "established": False}
    assert findings.plain(findings.comparison(tie, agreement)).endswith("no net change (McNemar, p = 1.000).")
    loss = {**test, "run_only": 20, "p_exact": 0.55, "established": False}
    assert "a net loss of 5, which is not established (McNemar, p = 0.550)" in findings.plain(
        findings.comparison(loss, agreement)
    )


def test_sentences_of_classes() -> None:
    rows = class_rows(["a", "b", "c", "tiny"], [20, 20, 20, 2], [14, 16, 19, 0])
    change = {"name": "c", "n": 20, "diff": 0.25, "p_holm": 0.2}
    assert findings.plain(findings.classes(rows, [change])) == (
        "Of the classes with 10 and more images, a and b are lowest; after correction for 4 looks no class is established "
        "as lower than the rest. The largest gain is c, +25.0; after correction for 1 look no change of a single class is "
        "established."
    )
    held = [{"name": f"x{k}", "n": 30, "diff": -0.5, "p_holm": 0.01} for k in range(5)]
    assert "x0 −50.0, x1 −50.0, x2 −50.0 and 2 more." in findings.plain(findings.classes(rows, held))
    low = class_rows(["bad", "good"], [100, 100], [40, 95])
    assert findings.plain(findings.classes(low, None)) == (
        "Lower than the rest, also after correction for 2 looks: bad (40.0% of 100)."
    )
    equal = class_rows(["a", "b", "c"], [20, 20, 20], [15, 15, 15])
    assert findings.plain(findings.classes(equal, None)) == (
        "After correction for 3 looks no class is established as lower than the rest."
    )
    assert findings.plain(findings.classes(rows[:1], None)) == "All labeled images are of one class."


def test_sentences_of_confusion() -> None:
    assert findings.plain(findings.confusion([], 3)) == "No class is confused with another."
    labels, preds = np.arange(40), (np.arange(40) + 1) % 40
    text = findings.plain(findings.confusion(pair_cells(labels, preds), 40))
    assert text == "40 mistakes make 40 different pairs: no pair of classes stands out."
    two = pair_cells(np.array([0, 0, 1]), np.array([1, 1, 0]))
    assert (
        findings.plain(findings.confusion(two, 2)) == "Taken for the other class: c0 for c1 2 times, c1 for c0 1 time."
    )
    few = pair_cells(np.array([0, 0, 1, 2]), np.array([1, 1, 2, 1]))
    assert "No pair of classes stands out: the most frequent one, c0 → c1, occurs 2 times of 4 mistakes." in (
        findings.plain(findings.confusion(few, 5))
    )


def test_names_in_a_finding_are_escaped() -> None:
    assert findings.markup(["a ", ("<img src=x>",), " & b"]) == "a <b><bdi>&lt;img src=x&gt;</bdi></b> &amp; b"


def test_confused_classes_stand_side_by_side() -> None:
    random = np.random.default_rng(4)
    labels = random.integers(0, 12, 2000)
    # Classes 0, 5 and 9 are taken for each other, as are 3 and 7; the others for anything.
    near = {0: [5, 9], 5: [0, 9], 9: [0, 5], 3: [7], 7: [3]}
    preds = labels.copy()
    for i in np.flatnonzero(random.random(2000) < 0.25):
        preds[i] = random.choice(near.get(int(labels[i]), [1, 2, 4, 6, 8, 10, 11]))
    order, groups = clustered(pair_cells(labels, preds), 12)
    assert sorted(order) == list(range(12))
    assert sum(groups) == 12
    ends = np.cumsum(groups)
    framed = [set(order[end - size : end]) for end, size in zip(ends, groups, strict=True) if size > 1]
    assert {0, 5, 9} in framed
    assert {3, 7} in framed


@pytest.mark.parametrize("cells", [[], [{"label": 0, "pred": -1, "n": 3, "share": 1.0}]])
def test_an_order_of_no_confusion_is_that_of_the_classes(cells: list[Row]) -> None:
    assert clustered(cells, 4) == ([0, 1, 2, 3], [1, 1, 1, 1])


def test_findings_of_a_page_are_those_of_its_macros(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    report_files.add_digits(con)
    text = Path(sqlanalysis.report(con, tmp_path / "r.html", ["digits_logreg", "digits_bayes"])).read_text()
    won, lost = con.sql("select run_only, baseline_only from mcnemar('digits_logreg', 'digits_bayes')").fetchall()[0]
    assert f"{won} became right, {lost} became wrong" in text
    label, pred, n = con.sql(
        "select label_name, pred_name, n from top_confusions('digits_logreg') order by n desc, share_of_label desc limit 1"
    ).fetchall()[0]
    assert f"Most often <b><bdi>{label}</bdi></b> is taken for <b><bdi>{pred}</bdi></b>: {n} of" in text
    ece = con.sql("select ece from calibration_error('digits_logreg')").fetchall()[0][0]
    assert f"Confidence is off by {ece:.3f} on average" in text
